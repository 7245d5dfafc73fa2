package rig

import (
	"embed"
	"encoding/json"
	"os"
	"path/filepath"
)

//go:embed profiles/*.toml
var profiles embed.FS

func writeProfiles(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	list, err := profiles.ReadDir("profiles")
	if err != nil {
		return err
	}
	for _, e := range list {
		text, err := profiles.ReadFile("profiles/" + e.Name())
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, e.Name()), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// writeBundle makes an OCI bundle whose root file system holds the payload only.
func writeBundle(dir, payload string, uid, gid uint32) error {
	for _, d := range []string{"proc", "dev", "sys", "tmp", "etc", "run", "var/tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, "rootfs", d), 0o755); err != nil {
			return err
		}
	}
	if err := copyFile(filepath.Join(dir, "rootfs/true0"), payload); err != nil {
		return err
	}
	text, err := json.MarshalIndent(spec(uid, gid), "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "config.json"), text, 0o644)
}

// spec is the runtime's config.json: the equal profile in the words of the OCI
// runtime specification, as far as it has them.
func spec(uid, gid uint32) any {
	type object = map[string]any
	mount := func(target, kind string, options ...string) object {
		return object{"destination": target, "type": kind, "source": kind, "options": options}
	}
	id := func(host uint32) []object {
		return []object{{"containerID": 0, "hostID": host, "size": 1}} // runc wants a root
	}
	namespaces := []object{}
	for _, ns := range []string{"user", "mount", "pid", "ipc", "uts", "network", "cgroup"} {
		namespaces = append(namespaces, object{"type": ns})
	}
	return object{
		"ociVersion": "1.0.2",
		"process": object{
			"user":            object{"uid": 0, "gid": 0},
			"args":            []string{"/true0"},
			"env":             []string{"PATH=/"},
			"cwd":             "/",
			"noNewPrivileges": true,
			"capabilities":    object{},
		},
		"root":     object{"path": "rootfs", "readonly": true},
		"hostname": "bench",
		"mounts": []object{
			mount("/proc", "proc"),
			mount("/dev", "tmpfs", "nosuid", "mode=755"),
			mount("/dev/pts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"),
			mount("/tmp", "tmpfs", "nosuid", "nodev"),
		},
		"linux": object{
			"namespaces":  namespaces,
			"uidMappings": id(uid),
			"gidMappings": id(gid),
		},
	}
}

func copyFile(to, from string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o755)
}
