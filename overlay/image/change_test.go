package image

import (
	"reflect"
	"strings"
	"testing"
)

func TestParseChange(t *testing.T) {
	for _, tt := range []struct {
		text string
		want Change
		err  string
	}{
		{`CMD ["a", "b c"]`, Change{Key: "CMD", Args: []string{"a", "b c"}}, ""},
		{`cmd a  b`, Change{Key: "CMD", Args: []string{"/bin/sh", "-c", "a  b"}}, ""},
		{`CMD []`, Change{Key: "CMD", Args: []string{}}, ""},
		{` ENTRYPOINT ["x"] `, Change{Key: "ENTRYPOINT", Args: []string{"x"}}, ""},
		{`ENV A=b C="d e" F=g\ h I='j\k'`, Change{Key: "ENV", Pairs: [][2]string{{"A", "b"}, {"C", "d e"}, {"F", "g h"}, {"I", `j\k`}}}, ""},
		{`ENV A the rest "of" it`, Change{Key: "ENV", Pairs: [][2]string{{"A", `the rest "of" it`}}}, ""},
		{`ENV A=`, Change{Key: "ENV", Pairs: [][2]string{{"A", ""}}}, ""},
		{`LABEL a.b=c=d`, Change{Key: "LABEL", Pairs: [][2]string{{"a.b", "c=d"}}}, ""},
		{`EXPOSE 80 53/udp`, Change{Key: "EXPOSE", Args: []string{"80", "53/udp"}}, ""},
		{`VOLUME /a "/b c"`, Change{Key: "VOLUME", Args: []string{"/a", "/b c"}}, ""},
		{`VOLUME ["/a"]`, Change{Key: "VOLUME", Args: []string{"/a"}}, ""},
		{`USER app:1`, Change{Key: "USER", Args: []string{"app:1"}}, ""},
		{`WORKDIR /a b`, Change{Key: "WORKDIR", Args: []string{"/a b"}}, ""},
		{`STOPSIGNAL SIGINT`, Change{Key: "STOPSIGNAL", Args: []string{"SIGINT"}}, ""},
		{`ONBUILD RUN make`, Change{Key: "ONBUILD", Args: []string{"RUN make"}}, ""},
		{`RUN x`, Change{}, `"RUN" is no change`},
		{``, Change{}, `"" is no change`},
		{`CMD`, Change{}, "CMD of what?"},
		{`CMD [a]`, Change{}, "no list of texts"},
		{`CMD ["a"`, Change{}, "no list of texts"},
		{`ENTRYPOINT [""]`, Change{}, "name is empty"},
		{`ENV A`, Change{}, "no value"},
		{`ENV A=b c`, Change{}, `"c" is not NAME=VALUE`},
		{`ENV =b`, Change{}, "is not NAME=VALUE"},
		{`ENV A="b`, Change{}, "not closed"},
		{"ENV A=b\nUSER root", Change{}, "one line"},
		{`EXPOSE http`, Change{}, "no port"},
		{`EXPOSE 80/icmp`, Change{}, "no port"},
		{`USER a b`, Change{}, "not one word"},
		{`WORKDIR a`, Change{}, "absolute"},
		{`VOLUME a`, Change{}, "absolute"},
	} {
		got, err := ParseChange(tt.text)
		if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%q: %v, want %q", tt.text, err, tt.err)
		}
		if err == nil && !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%q: %+v, want %+v", tt.text, got, tt.want)
		}
	}
}
