package resolve

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/overlay/image"
	"github.com/sbx-sandbox/sbx/profiles"
	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/userns"
)

// Image is the image that a profile's root names, as sbx found it.
type Image struct {
	Dir    string        // the directory of images, free of symbolic links
	Record *image.Record // of the image
}

// image is the name of the image that is the root, if it is one.
func (r *resolver) image() (name string, ok bool) { return profiles.ImageName(r.prof.Root.Source) }

// imageRoot makes an image the root.
func (r *resolver) imageRoot(name string) {
	const from = "root.source"
	if r.Image == nil {
		r.fail(&Error{Key: from, Msg: "BUG: the image was not looked up"})
		return
	}
	rec, rt := r.Image.Record, &r.plan.Root
	rt.Image = sandbox.Image{
		Name: name, ID: rec.ID, Dir: path.Join(r.Image.Dir, image.Layers), Layers: rec.Layers,
		Scratch: "../../" + image.Scratch, Lock: image.LockPath(r.Image.Dir, rec.ID),
	}
	if r.prof.Root.Upper == "disk" {
		rt.Upper, rt.Size, rt.Inodes = onDisk, r.prof.Root.Size, 0
	} else if !rt.ReadOnly {
		rt.Size, rt.Inodes = r.prof.Root.Size, inodes(r.prof.Root.Size)
	}
	for name, text := range rec.Links {
		if strings.Contains(name, "/") {
			continue
		}
		r.links["/"+name] = path.Join("/", text)
	}
	for _, place := range []string{"/dev", "/proc", "/sys", "/run", "/tmp"} {
		if to := r.links[place]; to != "" {
			r.fail(&Error{Key: from, Msg: fmt.Sprintf("the image %s has a symbolic link to %s at %s, where the sandbox has its own", name, to, place), Hint: "use another image"})
		}
	}
	r.imageOwners(rec)
	r.imageFile(sandbox.Mount{Kind: sandbox.File, Target: "/etc/hosts", Mode: 0o444, From: from, Why: "names of the loopback", Content: r.hostsFile()})
	if r.plan.Network == sandbox.NetHost {
		if e, err := r.facts.Files.Resolve("/etc/resolv.conf", ""); err == nil && e.Type() == unix.S_IFREG {
			r.imageFile(sandbox.Mount{Kind: sandbox.Bind, Target: "/etc/resolv.conf", Source: e.Path, ReadOnly: true, From: "network.mode", Why: "the host's name servers"})
		}
	}
	r.imageAccounts(rec)
}

// imageFile places a file in the image's /etc, or where a link there leads, if
// that is in a directory of the sandbox's own. In a directory of an id that is not
// mapped nothing can be made.
func (r *resolver) imageFile(m sandbox.Mount) {
	rec := r.Image.Record
	if to, ok := rec.Links[m.Target[1:]]; ok {
		if !path.IsAbs(to) {
			to = path.Join(path.Dir(m.Target), to)
		}
		if to = path.Clean(to); !within(to, "/run") {
			r.note("degraded", "image", m.From, "%s of the image is a link to %s, and is left as it is", m.Target, to)
			return
		}
		m.Target = to
	} else if r.plan.IDs.Mode != "range" && rec.IDs.Mode == "range" && rec.EtcOwner != 0 {
		r.note("info", "image", "user.map", `%s is left as the image has it, whose /etc belongs to another id than root; user.map = "range" has that`, m.Target)
		return
	}
	r.add(m)
}

// imageAccounts gives the caller a name inside, where the image has none for
// their id.
func (r *resolver) imageAccounts(rec *image.Record) {
	ids := &r.plan.IDs
	if ids.UID == 0 || r.asImage || hasID(rec.Passwd, ids.UID) {
		return
	}
	passwd, group := ended(rec.Passwd), ended(rec.Group)
	passwd += fmt.Sprintf("%s:x:%d:%d::%s:/bin/sh\n", r.facts.User, ids.UID, ids.GID, r.facts.Home)
	if !hasID(group, ids.GID) {
		group += fmt.Sprintf("%s:x:%d:\n", r.facts.User, ids.GID)
	}
	for _, f := range []struct{ name, text string }{{"/etc/passwd", passwd}, {"/etc/group", group}} {
		r.imageFile(sandbox.Mount{Kind: sandbox.File, Target: f.name, Mode: 0o444, Content: f.text, From: "root.source", Why: "the image's, and your own name"})
	}
}

// hasID reports whether a text like passwd(5) or group(5) has a line of an id.
func hasID(text string, id uint32) bool {
	want := fmt.Sprint(id)
	for line := range strings.Lines(text) {
		if col := strings.Split(line, ":"); len(col) > 2 && col[2] == want {
			return true
		}
	}
	return false
}

func ended(text string) string {
	if text != "" && !strings.HasSuffix(text, "\n") {
		return text + "\n"
	}
	return text
}

// imageOwners says what becomes of the owners of the image's files.
func (r *resolver) imageOwners(rec *image.Record) {
	const from = "user.map"
	ids := &r.plan.IDs
	switch {
	case !rec.Owners:
	case rec.IDs.Mode != "range":
		r.note("info", "image", from, "the image was imported with one id: all its files belong to root")
	case ids.Mode != "range":
		r.note("info", "image", from, `files of the image that belong to other ids than root are nobody's: with one mapped id there is no more; user.map = "range" has them`)
	case !slices.Equal(rec.IDs.UIDs, ids.OuterUIDs) || !slices.Equal(rec.IDs.GIDs, ids.OuterGIDs):
		r.note("degraded", "image", from, "the image was imported with other subordinate ids than you have now: owners of its files are wrong; import it anew")
	}
}

// imageUser decides who user.as = "auto" is on an image: the user that the
// image names.
func (r *resolver) imageUser() (uid, gid uint32, ok bool) {
	if r.prof.User.As != "auto" || r.Image == nil {
		return 0, 0, false
	}
	rec := r.Image.Record
	if rec.Account.Problem != "" {
		r.fail(&Error{Key: "root.source", Msg: fmt.Sprintf("the image runs as %q, but %s", rec.Config.User, rec.Account.Problem), Hint: `set user.as = "keep" or "root"`})
	}
	who := "root, as images do that name nobody"
	if rec.Config.User != "" {
		who = fmt.Sprintf("%q, as the image has it: %d:%d", rec.Config.User, rec.Account.UID, rec.Account.GID)
	}
	r.note("info", "image", "user.as", "the command runs as %s", who)
	return rec.Account.UID, rec.Account.GID, true
}

// imageIDs are the maps of a range on an image. Its layers lie on disk with the
// caller's own id for root and the subordinate ones for the others: that layout
// is the outer map, whoever the command is.
func (r *resolver) imageIDs() {
	f, ids := r.facts, &r.plan.IDs
	ids.OuterUIDs, ids.OuterGIDs = userns.Root(f.UID, f.SubUIDs), userns.Root(f.GID, f.SubGIDs)
	ids.InnerUIDs, ids.InnerGIDs = ids.OuterUIDs.Identity(), ids.OuterGIDs.Identity()
	switch {
	case ids.UID == 0 && ids.GID == 0:
	case r.asImage: // an id of the image's own, which is not the caller on the host
		for _, x := range []struct {
			id   uint32
			m    userns.Map
			what string
		}{{ids.UID, ids.OuterUIDs, "uid"}, {ids.GID, ids.OuterGIDs, "gid"}} {
			if _, ok := x.m.Outside(x.id); !ok {
				r.fail(&Error{Key: "user.map", Msg: fmt.Sprintf("the image runs as %s %d, which is beyond your subordinate ids", x.what, x.id), Hint: `set user.as = "keep" or "root"`})
			}
		}
		r.note("info", "image", "user.map", "on the host the command is your subordinate id, to whom your own files are another's")
	default: // the caller and the image's root are one on disk, and have the caller's id inside
		ids.InnerUIDs, ids.InnerGIDs = swapped(ids.OuterUIDs, ids.UID), swapped(ids.OuterGIDs, ids.GID)
	}
}

// swapped is the inner map that gives the outer 0 the id own, and 0 to whom own
// was.
func swapped(outer userns.Map, own uint32) userns.Map {
	var m userns.Map
	for _, e := range outer.Identity() {
		if e.Inside == 0 && e.Count == 1 {
			m = append(m, userns.Extent{Inside: own, Outside: 0, Count: 1})
			continue
		}
		if own < e.Inside || own-e.Inside >= e.Count {
			m = append(m, e)
			continue
		}
		if n := own - e.Inside; n > 0 {
			m = append(m, userns.Extent{Inside: e.Inside, Outside: e.Outside, Count: n})
		}
		m = append(m, userns.Extent{Inside: 0, Outside: own, Count: 1})
		if rest := e.Inside + e.Count - own - 1; rest > 0 {
			m = append(m, userns.Extent{Inside: own + 1, Outside: own + 1, Count: rest})
		}
	}
	return m
}

// imageEnvironment is what the image sets, over what the caller passes on.
func (r *resolver) imageEnvironment(env map[string]string) {
	if r.Image == nil {
		return
	}
	rec := r.Image.Record
	if r.foreign() {
		env["HOME"] = rec.Account.Home
		env["USER"], env["LOGNAME"] = rec.Account.Name, rec.Account.Name
		delete(env, "XDG_RUNTIME_DIR")
	}
	set := map[string]bool{}
	delete(env, "SHELL") // the host's, which the image need not have
	for _, kv := range rec.Config.Env {
		name, value, ok := strings.Cut(kv, "=")
		if !ok || name == "" || strings.IndexByte(kv, 0) >= 0 {
			continue
		}
		if name == "PATH" {
			value = insidePath(value)
		}
		env[name], set[name] = value, true
	}
	if !set["PATH"] {
		env["PATH"] = defaultPath // the host's says nothing about the image
	}
	if len(set) > 0 {
		r.note("info", "image", "root.source", "the image sets %s", strings.Join(slices.Sorted(maps.Keys(set)), ", "))
	}
}

// foreign says that on the host the command is a subordinate id and not the caller.
func (r *resolver) foreign() bool {
	ids := &r.plan.IDs
	if !r.asImage {
		return false
	}
	outer, _ := ids.InnerUIDs.Outside(ids.UID)
	host, ok := ids.OuterUIDs.Outside(outer)
	return ok && host != r.facts.UID
}

// imageCommand is what an image runs when nobody says anything else.
func (r *resolver) imageCommand() []string {
	if r.Image == nil {
		return nil
	}
	c := &r.Image.Record.Config
	argv := slices.Concat(c.Entrypoint, c.Cmd)
	if len(argv) > 0 {
		r.ownCommand = true
		r.note("info", "image", "process.command", "the command is the image's own")
	}
	return argv
}

// imageDir is the directory that the image's command starts in.
func (r *resolver) imageDir() string {
	if r.Image == nil {
		return ""
	}
	dir := r.Image.Record.Config.WorkingDir
	if !path.IsAbs(dir) || strings.IndexByte(dir, 0) >= 0 {
		return ""
	}
	return path.Clean(dir)
}

// imageTargets leads what is mounted through the links at the image's top, such
// as /home to /var/home: mounting stops at links.
func (r *resolver) imageTargets() {
	if r.Image == nil {
		return
	}
	for i := range r.plan.Mounts {
		m := &r.plan.Mounts[i]
		was := m.Target
		m.Target = r.follow(m.Target)
		if r.links[m.Target] != "" {
			m.Target = r.links[m.Target]
		}
		if m.Kind == sandbox.Mask && m.Target != was { // what is known of it goes with it
			r.pin[m.Target], r.linked[m.Target], r.byLink[m.Target] = r.pin[was], r.linked[was], r.byLink[was]
		}
	}
}

func (r *resolver) imageFeature(add addFeature) {
	img := &r.plan.Root.Image
	if !r.plan.Root.OnImage() {
		return
	}
	by := fmt.Sprintf("overlayfs, %d layers of %s (%s)", len(img.Layers), img.Name, img.ID[:12])
	switch {
	case r.plan.Root.ReadOnly:
		by += ", read-only"
	case r.plan.Root.Upper != "":
		by += ", writes kept as " + r.plan.Overlay.Name
	default:
		by += fmt.Sprintf(", writes in memory, %d MiB at most", r.plan.Root.Size>>20)
	}
	add("image", "enforced", by, "", "root.source")
}
