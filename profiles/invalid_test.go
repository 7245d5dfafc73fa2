package profiles

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// testEnv is a caller on a made-up host.
var testEnv = Env{Home: "/home/u", User: "u", UID: 1000, GID: 1000, Cwd: "/work", SystemDir: "/nonexistent"}

// invalid are the files of testdata/invalid, with all that is said about each.
var invalid = []struct {
	name string
	want []string
}{
	{"bool_type", []string{
		`bool_type.toml:3:13: root.read_only: must be true or false, not a string`,
	}},
	{"cpu_weight", []string{
		`cpu_weight.toml:3:14: limits.cpu_weight: 0 is out of range, use 1 to 10000`,
	}},
	{"cpus_low", []string{
		`cpus_low.toml:3:8: limits.cpus: 0.001 is out of range, use 0.01 or more, or 0`,
	}},
	{"cpus_text", []string{
		`cpus_text.toml:3:8: limits.cpus: "all" is not a number such as 1.5, with up to three decimals`,
	}},
	{"cpus_type", []string{
		`cpus_type.toml:3:8: limits.cpus: must be a number such as 1.5, not a boolean`,
	}},
	{"cpuset", []string{
		`cpuset.toml:3:10: limits.cpuset: "3-1" is not a list of processors, write for example "0-3,8"`,
	}},
	{"date_type", []string{
		`date_type.toml:2:15: description: must be a string, not a date`,
	}},
	{"duplicate_key", []string{
		`duplicate_key.toml:3:1: name: set twice, keep one of them`,
	}},
	{"duration_integer", []string{
		`duration_integer.toml:3:11: process.timeout: must be a duration such as "10s", not an integer`,
	}},
	{"duration_negative", []string{
		`duration_negative.toml:3:16: process.stop_timeout: "-1s" is negative, use 0 or more`,
	}},
	{"duration_word", []string{
		`duration_word.toml:3:11: process.timeout: "ten" is not a duration, use a number with a unit such as "10s" or "1h30m"`,
	}},
	{"enum", []string{
		`enum.toml:3:8: home.mode: unknown value "hots", use "tmpfs", "persistent", "host" or "none" (did you mean "host"?)`,
	}},
	{"enum_type", []string{
		`enum_type.toml:3:8: home.mode: must be a string, not a boolean`,
	}},
	{"env_pass_digit", []string{
		`env_pass_digit.toml:3:9: environment.pass[0]: "1X" is not a variable's name, use letters, digits, "_", and * or ? as wildcards`,
	}},
	{"env_pass_equals", []string{
		`env_pass_equals.toml:3:9: environment.pass[0]: "A=b" is not a variable's name, use letters, digits, "_", and * or ? as wildcards`,
	}},
	{"env_pass_name", []string{
		`env_pass_name.toml:3:17: environment.pass[1]: "MY-VAR" is not a variable's name, use letters, digits, "_", and * or ? as wildcards`,
	}},
	{"env_set_name", []string{
		`env_set_name.toml:3:9: environment.set."A B": "A B" is not a variable's name, use letters, digits and "_"`,
	}},
	{"env_set_nul", []string{
		`env_set_nul.toml:3:5: environment.set.A: contains a NUL byte`,
	}},
	{"env_set_string", []string{
		`env_set_string.toml:3:7: environment.set: must be a table, not a string; write [environment.set] and NAME = "value" below it`,
	}},
	{"env_set_type", []string{
		`env_set_type.toml:3:5: environment.set.A: must be a string, not an integer`,
	}},
	{"env_set_variable", []string{
		`env_set_variable.toml:3:5: environment.set.A: unknown variable ${HOMR} (did you mean ${HOME}?)`,
	}},
	{"extends_bare", []string{
		`extends_bare.toml:2:12: extends[0]: "go" is neither a path nor a name with its place, write "./go", "builtin:go" or "user:go"`,
	}},
	{"extends_builtin", []string{
		`extends_builtin.toml:2:12: extends[0]: no built-in profile "pyhton" (did you mean "python"?)`,
	}},
	{"extends_escape", []string{
		`extends_escape.toml:2:12: extends[0]: "../x" is not the name of a profile`,
	}},
	{"extends_missing", []string{
		`extends_missing.toml:2:12: extends[0]: reading not-there.toml: no such file or directory`,
	}},
	{"extends_self", []string{
		`extends_self.toml:2:12: extends[0]: cycle: extends_self.toml -> extends_self.toml`,
	}},
	{"extends_string", []string{
		`extends_string.toml:2:11: extends: must be a list of strings, not a string`,
	}},
	{"extends_user", []string{
		`extends_user.toml:2:12: extends[0]: no profile "user:nothing"; looked in /home/u/.config/sbx/profiles`,
	}},
	{"feature_name", []string{
		`feature_name.toml:3:12: policy.require[0]: "Land lock" is not a feature's name, see sbx doctor for the names`,
	}},
	{"gid_map_overlap_outside", []string{
		`gid_map_overlap_outside.toml:6:3: user.gid_map[1]: "50:100009:1" overlaps "0:100000:10" outside, use separate ranges`,
	}},
	{"home_access_mode", []string{
		`home_access_mode.toml:3:1: home.access: has no effect with home.mode = "tmpfs", remove it or set home.mode = "host" or "persistent"`,
	}},
	{"home_hide_mode", []string{
		`home_hide_mode.toml:3:1: home.hide: has no effect with home.mode = "tmpfs", remove it or set home.mode = "host"`,
	}},
	{"home_share_empty", []string{
		`home_share_empty.toml:3:10: home.share[0]: must not be empty, name a path in the home directory`,
	}},
	{"home_share_escape", []string{
		`home_share_escape.toml:3:10: home.share[0]: /home/bob/.ssh is not below the home directory /home/u, use [mounts] for it`,
	}},
	{"home_share_mode", []string{
		`home_share_mode.toml:4:1: home.share: has no effect with home.mode = "none", remove it or set home.mode = "tmpfs" or "persistent"`,
	}},
	{"home_share_outside", []string{
		`home_share_outside.toml:3:10: home.share[0]: /etc/passwd is not below the home directory /home/u, use [mounts] for it`,
	}},
	{"home_size_mode", []string{
		`home_size_mode.toml:4:1: home.size: has no effect with home.mode = "host", remove it or set home.mode = "tmpfs"`,
	}},
	{"hostname_dash", []string{
		`hostname_dash.toml:3:12: process.hostname: "-x" is not a host name, use up to 64 letters, digits, "-" and "."`,
	}},
	{"hostname_underscore", []string{
		`hostname_underscore.toml:3:12: process.hostname: "my_host" is not a host name, use up to 64 letters, digits, "-" and "."`,
	}},
	{"hostname_uts", []string{
		`hostname_uts.toml:5:1: process.hostname: has no effect with namespaces.uts = "host", remove it or set namespaces.uts = "private"`,
	}},
	{"int_float", []string{
		`int_float.toml:3:8: process.nice: must be an integer, not a float`,
	}},
	{"int_high", []string{
		`int_high.toml:3:17: process.oom_score_adj: 1001 is out of range, use 0 to 1000`,
	}},
	{"int_low", []string{
		`int_low.toml:3:8: process.nice: -1 is out of range, use 0 to 19`,
	}},
	{"int_type", []string{
		`int_type.toml:3:8: process.nice: must be an integer, not a string`,
	}},
	{"io_bps", []string{
		`io_bps.toml:3:16: limits.io_read_bps[0]: "sda:1M" is not a rate, write PATH:SIZE as in "/dev/sda:10M"`,
	}},
	{"io_iops", []string{
		`io_iops.toml:3:17: limits.io_read_iops[0]: "/dev/sda:1K" is not a rate, write PATH:N as in "/dev/sda:100"`,
	}},
	{"landlock", []string{
		`landlock.toml:3:12: security.landlock: unknown value "best", use "auto", "require" or "off"`,
	}},
	{"limit_low", []string{
		`limit_low.toml:3:13: limits.processes: -2 is out of range, use 0 or more, or "unlimited"`,
	}},
	{"list_entry_type", []string{
		`list_entry_type.toml:3:20: process.command[1]: must be a string, not an integer`,
	}},
	{"list_type", []string{
		`list_type.toml:3:11: process.command: must be a list of strings, not a string`,
	}},
	{"many", []string{
		`many.toml:2:1: nmae: unknown key (did you mean "name"?)`,
		`many.toml:4:8: process.nice: 99 is out of range, use 0 to 19`,
		`many.toml:5:12: process.command[0]: must be a string, not an integer`,
		`many.toml:5:20: process.command[2]: must be a string, not an integer`,
		`many.toml:8:1: home.size: has no effect with home.mode = "host", remove it or set home.mode = "tmpfs"`,
		`many.toml:10:9: mounts.rel: target "rel" is not absolute, begin it with "/", "~/" or a variable`,
	}},
	{"map_explicit", []string{
		`map_explicit.toml:3:1: user.map: "explicit" needs user.uid_map and user.gid_map`,
	}},
	{"mode_range", []string{
		`mode_range.toml:4:8: mounts."/x".mode: "10000" is out of range, use at most "7777"`,
	}},
	{"mount_content_bind", []string{
		`mount_content_bind.toml:4:1: mounts."/x".content: has no effect with type = "bind", remove it or set type = "file"`,
	}},
	{"mount_file_source", []string{
		`mount_file_source.toml:4:1: mounts."/x".source: has no effect with type = "file", remove it or set type = "bind", "symlink", "overlay" or "volume"`,
	}},
	{"mount_inodes", []string{
		`mount_inodes.toml:4:10: mounts."/x".inodes: 0 is out of range, use 1 or more`,
	}},
	{"mount_mask_keys", []string{
		`mount_mask_keys.toml:4:1: mounts."/x".optional: has no effect with type = "mask", remove it or set type = "bind" or "overlay"`,
	}},
	{"mount_none_inherited", []string{
		`mount_none_inherited.toml:3:1: mounts."/x".type: drops an inherited mount, and none is inherited for this target`,
	}},
	{"mount_number", []string{
		`mount_number.toml:3:8: mounts."/x": must be a table or "SOURCE[:ro|rw]", not an integer`,
	}},
	{"mount_short_access", []string{
		`mount_short_access.toml:3:8: mounts."/x": unknown access "rx", use "ro" or "rw"`,
	}},
	{"mount_short_empty", []string{
		`mount_short_empty.toml:3:8: mounts."/x": has no source, write "SOURCE:ro" or "SOURCE:rw"`,
	}},
	{"mount_short_variable", []string{
		`mount_short_variable.toml:3:8: mounts."/x": unknown variable ${HOEM} (did you mean ${HOME}?)`,
	}},
	{"mount_size_bind", []string{
		`mount_size_bind.toml:3:1: mounts."/x".size: has no effect with type = "bind", remove it or set type = "tmpfs" or "overlay"`,
	}},
	{"mount_symlink_access", []string{
		`mount_symlink_access.toml:5:1: mounts."/x".access: has no effect with type = "symlink", remove it or set type = "bind", "tmpfs", "file" or "volume"`,
	}},
	{"mount_symlink_source", []string{
		`mount_symlink_source.toml:2:9: mounts."/x": a symlink needs a source, the text of the link`,
	}},
	{"mount_tmpfs_dev", []string{
		`mount_tmpfs_dev.toml:4:1: mounts."/x".dev: has no effect with type = "tmpfs", remove it or set type = "bind"`,
	}},
	{"volume_no_source", []string{
		`volume_no_source.toml:2:9: mounts."/x": a volume needs a source, its name`,
	}},
	{"volume_name", []string{
		`volume_name.toml:4:1: mounts."/x".source: "../x" is not a volume's name, use up to 64 letters, digits, ".", "_" and "-", beginning with a letter or digit`,
	}},
	{"bind_access_overlay", []string{
		`bind_access_overlay.toml:3:1: mounts."/x".access: "overlay" has no meaning with type = "bind", set type = "overlay"`,
	}},
	{"tmpfs_size_zero", []string{
		`tmpfs_size_zero.toml:4:1: mounts."/x".size: 0 is out of range, use 1 or more`,
	}},
	{"overlay_name", []string{
		`overlay_name.toml:3:8: overlay.name: "a/b" is not a name, use up to 64 letters, digits, ".", "_" and "-", beginning with a letter or digit`,
	}},
	{"mount_type", []string{
		`mount_type.toml:3:8: mounts."/x".type: unknown value "union", use "bind", "tmpfs", "file", "symlink", "mask", "overlay", "volume" or "none"`,
	}},
	{"mounts_array", []string{
		`mounts_array.toml:2:3: mounts: must be tables named by their target, not a list of tables; write [mounts."/target"]`,
	}},
	{"mounts_string", []string{
		`mounts_string.toml:2:10: mounts: must be tables named by their target, not a string; write [mounts."/target"]`,
	}},
	{"name_empty", []string{
		`name_empty.toml:2:8: name: "" is not a name, use up to 64 letters, digits, ".", "_" and "-", beginning with a letter or digit`,
	}},
	{"name_slash", []string{
		`name_slash.toml:2:8: name: "a/b" is not a name, use up to 64 letters, digits, ".", "_" and "-", beginning with a letter or digit`,
	}},
	{"network_mode", []string{
		`network_mode.toml:3:8: network.mode: "sandbox:a b" names no sandbox: use up to 64 letters, digits, ".", "_" and "-", beginning with a letter or digit`,
	}},
	{"network_upstream", []string{
		`network_upstream.toml:4:11: network.on_deny: unknown value "maybe", use "report" or "ask"`,
		`network_upstream.toml:5:8: network.dns[0]: name server "a b=192.0.2.1": " " is in no name`,
		`network_upstream.toml:5:25: network.dns[1]: name server "here": write an address in numbers, with a port as 192.0.2.1:5353 or [2001:db8::1]:5353`,
		`network_upstream.toml:6:18: network.upstream_proxy: unknown value "http://192.0.2.1:3128", use "none" or "host"`,
	}},
	{"oom_kill", []string{
		`oom_kill.toml:3:12: limits.oom_kill: unknown value "all", use "sandbox" or "process"`,
	}},
	{"phase_all", []string{
		`phase_all.toml:3:8: phase[0].name: "all" stands for every phase, choose another name`,
	}},
	{"phase_command_twice", []string{
		`phase_command_twice.toml:4:1: phase[0].command: is set as process.command too, keep one of them`,
	}},
	{"phase_effect", []string{
		`phase_effect.toml:6:1: phase[0].network.allow: has no effect with network.mode = "none", remove it or set network.mode = "user" or "network:NAME"`,
	}},
	{"phase_enum", []string{
		`phase_enum.toml:7:8: phase[1].network.mode: unknown value "nothing", use "none", "user", "host", "sandbox:NAME" or "network:NAME"`,
	}},
	{"phase_extends", []string{
		`phase_extends.toml:4:1: phase[0].extends: belongs to the file and can't be set for one phase`,
	}},
	{"phase_mixed", []string{
		`phase_mixed.toml:2:1: phase: must be a list of tables, write [[phase]] above each one's keys`,
	}},
	{"phase_no_name", []string{
		`phase_no_name.toml:2:3: phase[0]: has no name, write name = "fetch" or the like`,
	}},
	{"phase_secret", []string{
		`phase_secret.toml:4:12: phase[0].process.secrets[0]: no secret "token", write token = "env:VARIABLE" or "file:PATH" under [secrets]`,
	}},
	{"phase_table", []string{
		`phase_table.toml:2:2: phase: must be a list of tables, not a table; write [[phase]] above each one's keys`,
	}},
	{"phase_twice", []string{
		`phase_twice.toml:5:8: phase[1].name: "a" is the name of a phase above, keep one of them`,
	}},
	{"phase_unknown", []string{
		`phase_unknown.toml:4:1: phase[0].comand: unknown key (did you mean "command"?)`,
	}},
	{"root_etc_source", []string{
		`root_etc_source.toml:4:1: root.etc: has no effect with root.source = "empty", remove it or set root.source = "host"`,
	}},
	{"root_relative", []string{
		`root_relative.toml:3:10: root.source: unknown root "images/debian", use "host", "empty", an image such as "image:debian:12" or a directory such as "/srv/root"`,
	}},
	{"root_image", []string{
		`root_image.toml:3:10: root.source: "image:" names no image, write for example "image:debian:12"`,
	}},
	{"root_size", []string{
		`root_size.toml:3:1: root.size: has no effect with root.source = "host", remove it or set root.source = "image:NAME"`,
	}},
	{"root_upper", []string{
		`root_upper.toml:4:1: root.upper: has no effect with root.source = "host", remove it or set root.source = "image:NAME"`,
	}},
	{"root_upper_word", []string{
		`root_upper_word.toml:4:9: root.upper: unknown value "memory", use "tmpfs" or "disk"`,
	}},
	{"root_word", []string{
		`root_word.toml:3:10: root.source: unknown root "hsot", use "host", "empty", an image such as "image:debian:12" or a directory such as "/srv/root" (did you mean "host"?)`,
	}},
	{"seccomp_allow_unconfined", []string{
		`seccomp_allow_unconfined.toml:4:1: security.seccomp_allow: has no effect with security.seccomp = "unconfined", remove it or set another security.seccomp`,
	}},
	{"seccomp_call", []string{
		`seccomp_call.toml:3:27: security.seccomp_deny[1]: "Ptrace" is neither a system call's name nor a group's, write for example "ptrace" or "@debug"`,
		`seccomp_call.toml:3:37: security.seccomp_deny[2]: "@" is neither a system call's name nor a group's, write for example "ptrace" or "@debug"`,
		`seccomp_call.toml:3:42: security.seccomp_deny[3]: "@debug2" is neither a system call's name nor a group's, write for example "ptrace" or "@debug"`,
	}},
	{"seccomp_missing", []string{
		`seccomp_missing.toml:3:11: security.seccomp: reading no-such.json: no such file or directory`,
	}},
	{"seccomp_word", []string{
		`seccomp_word.toml:3:11: security.seccomp: unknown policy "bulid", use "strict", "build", "default" or "unconfined" or a file such as "./seccomp.json" (did you mean "build"?)`,
	}},
	{"secret_entry", []string{
		`secret_entry.toml:5:12: process.secrets[0]: "a:1X" is neither a secret's name nor NAME:VARIABLE, write for example "token" or "token:NPM_TOKEN"`,
	}},
	{"secret_source", []string{
		`secret_source.toml:3:5: secrets.a: "TOKEN" is no source of a secret, write "env:VARIABLE" or "file:PATH", the path with a slash`,
		`secret_source.toml:4:9: secrets."b c": "b c" is not a name, use up to 64 letters, digits, ".", "_" and "-", beginning with a letter or digit`,
		`secret_source.toml:5:5: secrets.d: "file:x" is no source of a secret, write "env:VARIABLE" or "file:PATH", the path with a slash`,
	}},
	{"signal_number", []string{
		`signal_number.toml:3:15: process.stop_signal: unknown signal "15", use a name such as "SIGTERM"`,
	}},
	{"signal_short", []string{
		`signal_short.toml:3:15: process.stop_signal: unknown signal "term" (did you mean "SIGTERM"?)`,
	}},
	{"signal_unknown", []string{
		`signal_unknown.toml:3:15: process.stop_signal: unknown signal "SIGTREM" (did you mean "SIGTERM"?)`,
	}},
	{"size_negative", []string{
		`size_negative.toml:3:7: root.tmp: -5 is out of range, use 0 or more`,
	}},
	{"size_overflow", []string{
		`size_overflow.toml:3:10: limits.memory: "9000000000T" is not a size, use bytes or a unit such as "64M" or "1G"`,
	}},
	{"size_type", []string{
		`size_type.toml:3:7: root.shm: must be a size such as "64M", not a float`,
	}},
	{"size_unit", []string{
		`size_unit.toml:3:7: root.tmp: "5Q" is not a size, use bytes or a unit such as "64M" or "1G"`,
	}},
	{"size_word", []string{
		`size_word.toml:3:10: limits.memory: "lots" is not a size, use bytes or a unit such as "64M" or "1G"`,
	}},
	{"size_zero", []string{
		`size_zero.toml:3:8: home.size: 0 is out of range, use 1 or more`,
	}},
	{"string_type", []string{
		`string_type.toml:3:15: process.working_dir: must be a string, not an integer`,
	}},
	{"syntax", []string{
		`syntax.toml:2:9: expected '.' or ']' to end table name, but got '\n' instead`,
	}},
	{"syntax_unclosed_string", []string{
		`syntax_unclosed_string.toml:2:10: name: strings cannot contain newlines`,
	}},
	{"table_as_array", []string{
		`table_as_array.toml:2:3: process: must be a table, not a list of tables; write [process] above its keys`,
	}},
	{"table_as_string", []string{
		`table_as_string.toml:2:11: process: must be a table, not a string; write [process] above its keys`,
	}},
	{"target_dev", []string{
		`target_dev.toml:2:9: mounts."/dev/kvm": target is under /dev, where only a bind with dev = true may be`,
	}},
	{"target_dev_tmpfs", []string{
		`target_dev_tmpfs.toml:2:9: mounts."/dev/mqueue": target is under /dev, where only a bind with dev = true may be`,
	}},
	{"target_duplicate", []string{
		`target_duplicate.toml:2:9: mounts."~/data": same target as mounts."/home/u/data", keep one of them`,
	}},
	{"target_proc", []string{
		`target_proc.toml:2:9: mounts."/proc/self": target is under /proc, where only type = "mask" may be`,
	}},
	{"target_relative", []string{
		`target_relative.toml:2:9: mounts.data: target "data" is not absolute, begin it with "/", "~/" or a variable`,
	}},
	{"target_root", []string{
		`target_root.toml:2:9: mounts."/": target is "/", set root.source instead`,
	}},
	{"target_unclean", []string{
		`target_unclean.toml:2:9: mounts."/data/../etc/": target is not clean, write "/etc"`,
	}},
	{"tilde_user", []string{
		`tilde_user.toml:3:10: home.share[0]: only ~/ is expanded; write the home directory of another user in full`,
	}},
	{"time_offset", []string{
		`time_offset.toml:3:1: namespaces.time_offset_monotonic: has no effect with namespaces.time = "host", remove it or set namespaces.time = "private"`,
	}},
	{"uid_map_alone", []string{
		`uid_map_alone.toml:3:1: user.uid_map: needs user.gid_map as well`,
	}},
	{"uid_map_count", []string{
		`uid_map_count.toml:3:12: user.uid_map[0]: "0:1000:0" maps no id, use a count of 1 or more`,
	}},
	{"uid_map_large", []string{
		`uid_map_large.toml:3:12: user.uid_map[0]: "4294967295:1000:1" goes beyond the largest id, 4294967294`,
	}},
	{"uid_map_mode", []string{
		`uid_map_mode.toml:4:1: user.uid_map: has no effect with user.map = "range", remove it or set user.map = "auto" or "explicit"`,
		`uid_map_mode.toml:5:1: user.gid_map: has no effect with user.map = "range", remove it or set user.map = "auto" or "explicit"`,
	}},
	{"uid_map_overlap_inside", []string{
		`uid_map_overlap_inside.toml:3:24: user.uid_map[1]: "1:5000:1" overlaps "0:1000:2" inside, use separate ranges`,
	}},
	{"uid_map_text", []string{
		`uid_map_text.toml:3:12: user.uid_map[0]: "0-1000-1" is not an id map, write "inside:outside:count" as in "0:100000:65536"`,
	}},
	{"umask_digits", []string{
		`umask_digits.toml:3:9: process.umask: "0o22" is not an octal number, use digits 0 to 7 as in "0755"`,
	}},
	{"umask_integer", []string{
		`umask_integer.toml:3:9: process.umask: must be a string of octal digits such as "0755", not an integer`,
	}},
	{"umask_range", []string{
		`umask_range.toml:3:9: process.umask: "1000" is out of range, use at most "0777"`,
	}},
	{"unknown_inline", []string{
		`unknown_inline.toml:2:26: home.sise: unknown key (did you mean "size"?)`,
	}},
	{"unknown_key", []string{
		`unknown_key.toml:3:1: process.comand: unknown key (did you mean "command"?)`,
	}},
	{"unknown_key_elsewhere", []string{
		`unknown_key_elsewhere.toml:3:1: process.memory: unknown key (did you mean "limits.memory"?)`,
	}},
	{"unknown_key_far", []string{
		`unknown_key_far.toml:3:1: home.volumes: unknown key, use "mode", "access", "size", "share" or "hide"`,
	}},
	{"unknown_mount_key", []string{
		`unknown_mount_key.toml:3:1: mounts."/x".src: unknown key, use "type", "source", "lower", "access", "exec", "dev", "optional", "grantable", "content", "mode", "upper", "size" or "inodes"`,
	}},
	{"unknown_quoted", []string{
		`unknown_quoted.toml:3:1: process."a b": unknown key, use "command", "working_dir", "tty", "hostname", "umask", "nice", "oom_score_adj", "timeout", "stop_timeout", "stop_signal", "listen_fds" or "secrets"`,
	}},
	{"unknown_table", []string{
		`unknown_table.toml:2:2: proces: unknown key (did you mean "process"?)`,
	}},
	{"unknown_top", []string{
		`unknown_top.toml:2:1: netwrok: unknown key (did you mean "network"?)`,
	}},
	{"variable_case", []string{
		`variable_case.toml:3:8: workspace.path: unknown variable ${home} (did you mean ${HOME}?)`,
	}},
	{"variable_in_target", []string{
		`variable_in_target.toml:2:9: mounts."${HOMME}/x": unknown variable ${HOMME} (did you mean ${HOME}?)`,
	}},
	{"variable_own", []string{
		`variable_own.toml:3:8: workspace.path: ${WORKSPACE} is not known yet here, use ${PROFILE_DIR} or write the path`,
	}},
	{"variable_unclosed", []string{
		`variable_unclosed.toml:3:24: process.command[2]: "${" without "}"; write "$${" for the characters themselves`,
	}},
	{"variable_unknown", []string{
		`variable_unknown.toml:3:12: process.command[0]: unknown variable ${GOMODCACHE}; known are GID, HOME, PROFILE_DIR, UID, USER, WORKSPACE, XDG_CACHE_HOME, XDG_CONFIG_HOME, XDG_DATA_HOME, XDG_RUNTIME_DIR, XDG_STATE_HOME`,
	}},
	{"version_missing", []string{
		`version_missing.toml:1:1: version: missing, write version = 1 at the top of the file`,
	}},
	{"version_string", []string{
		`version_string.toml:1:11: version: must be an integer, not a string`,
	}},
	{"version_two", []string{
		`version_two.toml:1:11: version: version 2 is not known to this sbx, write version = 1`,
	}},
	{"workspace_audit", []string{
		`workspace_audit.toml:3:9: workspace.audit: unknown value "warn", use "off", "report" or "fail"`,
	}},
	{"workspace_protect", []string{
		`workspace_protect.toml:3:12: workspace.protect[0]: "/etc/passwd" must be below the workspace, write it without the leading "/"`,
		`workspace_protect.toml:4:14: workspace.unprotect[0]: "../x" must stay below the workspace, leave out ".."`,
	}},
	{"workspace_protect_access", []string{
		`workspace_protect_access.toml:4:1: workspace.protect: has no effect with workspace.access = "none", remove it or set workspace.access = "rw" or "ro"`,
		`workspace_protect_access.toml:5:1: workspace.unprotect: has no effect with workspace.access = "none", remove it or set workspace.access = "rw" or "ro"`,
	}},
	{"workspace_git_access", []string{
		`workspace_git_access.toml:4:1: workspace.git: has no effect with workspace.access = "none", remove it or set workspace.access = "rw", "ro" or "overlay"`,
	}},
	{"workspace_git_read_only", []string{
		`workspace_git_read_only.toml:4:1: workspace.git: "guard" has no effect with workspace.access = "ro", remove it or set workspace.access = "rw"`,
	}},
	{"workspace_git_word", []string{
		`workspace_git_word.toml:3:7: workspace.git: unknown value "readonly", use "ro", "guard", "rw" or "hide"`,
	}},
	{"workspace_hide_absolute", []string{
		`workspace_hide_absolute.toml:3:9: workspace.hide[0]: "/etc/passwd" must be below the workspace, write it without the leading "/"`,
	}},
	{"workspace_hide_access", []string{
		`workspace_hide_access.toml:4:1: workspace.hide: has no effect with workspace.access = "none", remove it or set workspace.access = "rw", "ro" or "overlay"`,
	}},
	{"workspace_hide_parent", []string{
		`workspace_hide_parent.toml:3:9: workspace.hide[0]: "a/../../b" must stay below the workspace, leave out ".."`,
	}},
}

func TestInvalid(t *testing.T) {
	dir, err := filepath.Abs("testdata/invalid")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range invalid {
		t.Run(test.name, func(t *testing.T) {
			_, err := Load(Ref{Path: filepath.Join(dir, test.name+".toml")}, testEnv)
			var errs Errors
			if !errors.As(err, &errs) {
				t.Fatalf("got %v, want Errors", err)
			}
			got := strings.Split(strings.ReplaceAll(errs.Error(), dir+"/", ""), "\n")
			if !slices.Equal(got, test.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
			}
		})
	}
}

// Every file has its row, so that none is forgotten.
func TestInvalidFiles(t *testing.T) {
	files, err := os.ReadDir("testdata/invalid")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		name := strings.TrimSuffix(f.Name(), ".toml")
		if !slices.ContainsFunc(invalid, func(row struct {
			name string
			want []string
		},
		) bool {
			return row.name == name
		}) {
			t.Errorf("testdata/invalid/%s has no row", f.Name())
		}
	}
}
