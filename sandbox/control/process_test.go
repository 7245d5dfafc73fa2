package control

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"
)

// TestRequestText: a request for a command is read as it was written, whatever
// bytes are in it, and what the other side's decoder makes of it is the same
// with the text that is put together by hand.
func TestRequestText(t *testing.T) {
	var all string
	for c := range rune(0x80) {
		all += string(c)
	}
	for _, tt := range []struct {
		name string
		r    Request
	}{
		{"a command", Request{Op: Exec, Process: &Process{Argv: []string{"make", "-j2"}, Env: []string{"A=1", "B="}, Dir: "/srv", Cwd: "/home/u", Terminal: [3]bool{true, false, true}, Detach: true}}},
		{"nothing but a word", Request{Op: Exec, Process: &Process{Argv: []string{""}}}},
		{"every character of ASCII", Request{Op: Exec, Process: &Process{Argv: []string{all}, Env: []string{"A=" + all}}}},
		{"text", Request{Op: Exec, Process: &Process{Argv: []string{"naïve \u2028 \U0001F600 <&>"}}}},
		{"no text", Request{Op: Exec, Process: &Process{Argv: []string{"cat", "a\xffb", "\xed\xa0\x80"}, Env: []string{"A=\xfe"}, Dir: "/\xff", Cwd: "/\xfe"}}},
		{"no text in the directory alone", Request{Op: Exec, Process: &Process{Argv: []string{"ls"}, Cwd: "/\xfe"}}},
		{"more than a command", Request{Op: Exec, Name: "n", Timeout: time.Second, Process: &Process{Argv: []string{"true"}}}},
		{"no command", Request{Op: Stop, Signal: 15, Timeout: -1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.r.Version = Version
			text, err := tt.r.text()
			if err != nil {
				t.Fatal(err)
			}
			var got Request
			if err := json.Unmarshal(text, &got); err != nil {
				t.Fatalf("%v: %s", err, text)
			}
			if got.Process != nil {
				got.Process.restore()
				if len(got.Process.Env) == 0 {
					got.Process.Env = nil
				}
			}
			if !reflect.DeepEqual(got, tt.r) {
				t.Errorf("%s is read as\n%+v %+v, not\n%+v %+v", text, got, got.Process, tt.r, tt.r.Process)
			}
		})
	}
}

// TestRequestWhole: no field of a request for a command is forgotten where its text is
// put together by hand.
func TestRequestWhole(t *testing.T) {
	var p Process
	v := reflect.ValueOf(&p).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Interface().(type) {
		case string:
			f.SetString("word")
		case []string:
			f.Set(reflect.ValueOf([]string{"a", "b"}))
		case bool:
			f.SetBool(true)
		case [3]bool:
			f.Set(reflect.ValueOf([3]bool{true, true, true}))
		case *Bytes: // what is no text is marshalled
		default:
			t.Fatalf("nothing is known here of the field %s", v.Type().Field(i).Name)
		}
	}
	text, err := (&Request{Version: Version, Op: Exec, Process: &p}).text()
	if err != nil {
		t.Fatal(err)
	}
	var got Request
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if !reflect.DeepEqual(got.Process, &p) {
		t.Errorf("%s is read as %+v, not %+v", text, got.Process, &p)
	}
}
