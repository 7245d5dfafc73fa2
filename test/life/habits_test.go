package life

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sbx-sandbox/sbx/test/sbxtest"
	"github.com/sbx-sandbox/sbx/test/world"
)

// habit is a command line as somebody types it who comes from docker or podman,
// with what it prints and its status. Lines depend on those before them: they are
// one session.
type habit struct {
	line string // split at spaces; 'single quotes' keep some together
	code int
	out  string // a regular expression for all of standard output; "" for nothing
	err  string // one for a part of standard error; "" for nothing at all
	// again repeats the line until it is as wanted: what it shows comes by itself.
	again bool
}

const idLine = `[0-9a-f]{12}\n`

// habits is the session.
var habits = []habit{
	// Nothing is there.
	{line: "ps", out: `ID +NAME +PROFILE +COMMAND +CREATED +STATUS\n`},
	{line: "ps -q"},
	{line: "ps -a --format json", out: `\[\]\n`},
	{line: "stop web", code: 125, err: `no sandbox is called web`},
	{line: "inspect web", code: 125, out: `\[\]\n`, err: `no sandbox is called web`},
	{line: "logs web", code: 125, err: `no sandbox is called web`},
	{line: "exec web true", code: 125, err: `no sandbox is called web`},
	{line: "rm web", code: 125, err: `no sandbox is called web`},
	{line: "port web", code: 125, err: `no sandbox is called web`},
	{line: "top web", code: 125, err: `no sandbox is called web`},
	{line: "wait web", code: 125, err: `no sandbox is called web`},
	{line: "update -m 1G web", code: 125, err: `no sandbox is called web`},
	{line: "stats --no-stream web", code: 125, err: `no sandbox is called web`},

	// run: statuses and flags.
	{line: "run --rm -- true"},
	{line: "run --rm -- sh -c 'exit 3'", code: 3},
	{line: "run --rm -- sh -c 'kill -9 $$'", code: 137},
	{line: "run --rm -- sh -c 'kill -TERM $$'", code: 143},
	{line: "run --rm -- no-such-program", code: 127, err: `no-such-program: no such file or directory`},
	{line: "run --rm -- /etc/passwd", code: 126, err: `permission denied`},
	{line: "run --nonsense -- true", code: 125, err: `no flag --nonsense`},
	{line: "run --timeout 200ms -- sleep 100", code: 124, err: `ended by the timeout`},
	{line: "run -e A=b --env C=d -- sh -c 'echo $A$C'", out: `bd\n`},
	{line: "run -w /tmp -- pwd", out: `/tmp\n`},
	{line: "run --workdir=/usr -- pwd", out: `/usr\n`},
	{line: "run --hostname box -- uname -n", out: `box\n`},
	{line: "run --user root -- id -u", out: `0\n`},
	{line: "run --read-only -- sh -c 'echo x >new'", code: 2, err: `Read-only file system`},
	{line: "run --tmpfs /scratch -- sh -c 'echo x >/scratch/f && cat /scratch/f'", out: `x\n`},
	{line: "run -v .:/data:ro -- ls /data/probe", out: `/data/probe\n`},
	{line: "run --network none -- sh -c 'ls /sys/class/net 2>/dev/null; grep -c : /proc/net/dev'", out: `1\n`},
	{line: "run --ulimit nofile=77 -- sh -c 'ulimit -n'", out: `77\n`},
	{line: "run -d --name web --label tier=front --stop-timeout 5 -- sh -c 'echo out; echo err >&2; trap \"exit 7\" TERM; touch /tmp/ready; while :; do sleep 0.05; done'", out: idLine},
	{line: "run -d --name web -- true", code: 125, err: `the name web is taken by the sandbox`},
	{line: "run --cidfile probe -- true", code: 125, err: `probe is there already`},
	{line: "run -d --name db -p 127.0.0.1:0:5432 -- sleep 1000", out: idLine, err: `^sbx: port 5432/tcp of the sandbox is published on 127.0.0.1:[0-9]+\n$`},
	{line: "run -d --rm --restart always -- true", code: 125, err: `--restart and --rm exclude each other`},

	// ps
	{line: "ps --format {{.Names}}", out: `db\nweb\n`},
	{line: "ps --format '{{.Names}}: {{.State}}'", out: `db: running\nweb: running\n`},
	{line: "ps -f name=web --format {{.Names}}", out: `web\n`},
	{line: "ps --filter label=tier=front --format {{.Names}}", out: `web\n`},
	{line: "ps --filter status=paused -q"},
	{line: "ps --filter status=odd", code: 2, err: `no status "odd"`},
	{line: "ps -n 1 --format {{.Names}}", out: `db\n`},
	{line: "ps --no-trunc -f name=db", out: `(?s)ID .*sleep 1000 +[0-9]+ seconds? ago +Up .*`},
	{line: "ps --format 'table {{.Names}}\\t{{.Status}}' -f name=db", out: `NAMES +STATUS\ndb +Up [0-9]+ seconds?\n`},
	{line: "ps --format {{.Nope}}", code: 125, err: `there is no field .Nope`},

	// exec
	{line: "exec web echo hi", out: `hi\n`},
	{line: "exec -it web sh -c 'test -t 1 && echo tty'", out: `tty\r?\n`},
	{line: "exec -e X=1 web sh -c 'echo $X'", out: `1\n`},
	{line: "exec -w /tmp web pwd", out: `/tmp\n`},
	{line: "exec web sh -c 'exit 9'", code: 9},
	{line: "exec web no-such", code: 127, err: `execute no-such`},
	{line: "exec -d web touch /tmp/mark"},
	{line: "exec web ls /tmp/mark", out: `/tmp/mark\n`, again: true},
	{line: "exec -u nobody web id", code: 125, err: `there is nobody but who its command is`},
	{line: "exec web", code: 125, err: `what command\? usage: sbx exec`},

	// logs
	{line: "logs web", out: `out\n`, err: `^err\n$`, again: true},
	{line: "logs -n 0 web"},
	{line: "logs --tail 1 -t web", err: `^20.* err\n$`},
	{line: "logs --since 1h web", out: `out\n`, err: `^err\n$`},
	{line: "logs --until 1h web"},
	{line: "logs --tail x web", code: 2, err: `neither a number nor all`},

	// inspect
	{line: "inspect -f {{.State.Status}} web", out: `running\n`},
	{line: "inspect --format {{.State.Running}} web", out: `true\n`},
	{line: "inspect -f '{{.Name}} {{.RestartCount}}' web", out: `web 0\n`},
	{line: "inspect -f '{{json .Labels}}' web", out: `\{"tier":"front"\}\n`},
	{line: "inspect -f {{.Plan.Process.StopTimeout}} web", out: `5000000000\n`},
	{line: "inspect -f {{.Nope}} web", code: 125, err: `there is no field .Nope`},
	{line: "inspect -f {{.State.Pid}} web db", out: `[0-9]+\n[0-9]+\n`},

	// top, stats, port, cp
	{line: "top web --format {{.Inside}}", out: `1\n2\n(?s:.*)`},
	{line: "top web", out: `PID +INSIDE +USER +STATE +TIME +RSS +COMMAND\n(?s:.*)`},
	{line: "stats --no-stream --format {{.Name}} web", out: `web\n`},
	{line: "stats --no-stream", out: `(?s)ID +NAME +CPU % .*db.*web.*`},
	{line: "stats --no-stream --format {{.By}} db", out: `(proc|cgroup)\n`},
	{line: "port db", out: `5432/tcp -> 127.0.0.1:[0-9]+\n`},
	{line: "port db 5432", out: `127.0.0.1:[0-9]+\n`},
	{line: "port db 5432/udp", code: 125, err: `publishes no port 5432/udp`},
	{line: "port web"},
	{line: "cp web:/tmp/mark copied"},
	{line: "cp copied web:/tmp/back"},
	{line: "exec web ls /tmp/back", out: `/tmp/back\n`},
	{line: "cp web:/tmp/none .", code: 125, err: `no such file or directory`},
	{line: "cp copied back", code: 2, err: `is of a sandbox, NAME:PATH`},

	// pause, update, rename, kill, restart
	{line: "pause web", out: `web\n`},
	{line: "pause web", code: 125, err: `web is paused already`},
	{line: "ps --filter status=paused --format {{.Names}}", out: `web\n`},
	{line: "inspect -f {{.State.Paused}} web", out: `true\n`},
	{line: "exec web true", code: 125, err: `web is paused`},
	{line: "run --network container:web -- true", code: 125, err: `web is paused`},
	{line: "unpause web", out: `web\n`},
	{line: "unpause web", code: 125, err: `web is not paused`},
	{line: "update web", code: 2, err: `which limit`},
	{line: "update --set process.nice=3 web", code: 2, err: `can't be changed while a sandbox runs`},
	{line: "rename db store"},
	{line: "rename store web", code: 125, err: `the name web is taken`},
	{line: "kill -s WINCH web", out: `web\n`},
	{line: "kill -s NOSUCH web", code: 2, err: `no signal is called "NOSUCH"`},
	{line: "restart -t 5 web", out: `web\n`},
	{line: "exec web sh -c 'until test -e /tmp/ready; do sleep 0.05; done'"}, // it has its trap
	{line: "inspect -f {{.RestartCount}} web", out: `1\n`},
	{line: "ps -q --filter name=store", out: idLine},

	// wait, stop, kill, rm
	{line: "rm web", code: 125, err: `web runs; stop it first`},
	{line: "stop web", out: `web\n`},
	{line: "stop web", out: `web\n`},
	{line: "wait web", out: `7\n`},
	{line: "inspect -f {{.State.ExitCode}} web", out: `7\n`},
	{line: "ps -a --filter status=exited --format {{.Names}}", out: `web\n`},
	{line: "ps -a --filter exited=7 --format '{{.Status}}'", out: `Exited \(7\) .* ago\n`},
	{line: "kill web", code: 125, err: `web does not run`},
	{line: "pause web", code: 125, err: `web does not run`},
	{line: "restart web", code: 125, err: `web does not run`},
	{line: "top web", code: 125, err: `web does not run`},
	{line: "kill store", out: `store\n`},
	{line: "wait store web", out: `137\n7\n`},
	{line: "rm store web", out: `store\nweb\n`},
	{line: "run -d --name f -- sleep 1000", out: idLine},
	{line: "stop -t 0 f", out: `f\n`},
	{line: "rm -f f", out: `f\n`},
	{line: "run -d --rm --name r -- sh -c 'exit 5'", out: idLine},
	{line: "ps -aq --filter name=r", again: true},
	{line: "run -d --name again --restart on-failure:2 -- sh -c 'exit 4'", out: idLine},
	{line: "wait again", out: `4\n`},
	{line: "inspect -f '{{.RestartCount}} {{.State.ExitCode}}' again", out: `2 4\n`},
	{line: "events --no-stream --filter name=again --filter event=die --format {{.Attributes.exit_code}}", out: `4\n4\n4\n`},
	{line: "rm again", out: `again\n`},
	{line: "run -d --name unless --restart unless-stopped -- sh -c 'trap \"exit 3\" TERM; while :; do sleep 0.1; done'", out: idLine},
	{line: "stop unless", out: `unless\n`},
	{line: "ps -a --filter name=unless --format {{.State}}", out: `exited\n`},
	{line: "rm unless", out: `unless\n`},
	{line: "stop --all"},
	{line: "rm --all"},
	{line: "ps -aq"},
}

// words splits a line as a shell would that knows quotes and nothing else.
func words(line string) (list []string) {
	word, in, quote := "", false, byte(0)
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case quote == 0 && c == ' ':
			if in {
				list, word, in = append(list, word), "", false
			}
		case quote == 0 && c == '\'':
			quote, in = c, true
		case quote == c:
			quote = 0
		default:
			word, in = word+string(c), true
		}
	}
	if in {
		list = append(list, word)
	}
	return list
}

// TestHabits is a session of somebody who comes from docker.
func TestHabits(t *testing.T) {
	sbxtest.Leftovers(t)
	w := world.New(t)
	if len(habits) < 100 {
		t.Errorf("%d lines are fewer than the hundred that were promised", len(habits))
	}
	for _, h := range habits {
		argv := append([]string{w.Sbx}, words(h.line)...)
		var got world.Result
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			got = w.Run(t, argv...)
			if !h.again || h.fits(got) || time.Now().After(end) {
				break
			}
		}
		if !h.fits(got) {
			t.Errorf("sbx %s\nstatus %d, want %d\nstdout %q, want %q\nstderr %q, want %q", h.line, got.Code, h.code, got.Out, h.out, got.Err, h.err)
		}
	}
	empty(t, w)
}

func (h *habit) fits(got world.Result) bool {
	errs := got.Err == "" || h.err != ""
	if h.err != "" {
		errs = regexp.MustCompile(h.err).MatchString(got.Err)
	}
	return got.Code == h.code && errs && regexp.MustCompile(`^(?:`+h.out+`)$`).MatchString(got.Out)
}

// TestWords: the table's lines mean what they look like.
func TestWords(t *testing.T) {
	if got := strings.Join(words(`a 'b c' d'e f' ''`), "|"); got != "a|b c|de f|" {
		t.Errorf("%q", got)
	}
}
