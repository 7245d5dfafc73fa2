# needs: tmux
unset TMUX
export TERM=screen
tmux -L trial -f /dev/null new-session -d -x 80 -y 24 -s work "PS1= sh"
trap 'tmux -L trial kill-server 2>/dev/null || true' EXIT
tmux -L trial send-keys -t work 'echo ty''ped $((6*7))' Enter
for _ in $(seq 200); do
	tmux -L trial capture-pane -p -t work >pane
	grep -q 'typed 42' pane && break
	sleep 0.05
done
grep 'typed 42' pane
tmux -L trial split-window -t work -d 'tty >second; sleep 60'
for _ in $(seq 200); do if test -s second; then break; fi; sleep 0.05; done
grep /dev/pts/ second
tmux -L trial list-panes -t work | wc -l | grep -x 2
tmux -L trial kill-server
if tmux -L trial ls 2>/dev/null; then exit 1; fi
