package export

import (
	"encoding/json"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
	"github.com/sbx-sandbox/sbx/sandbox/cgroup"
)

// yaml writes lines of YAML. Strings are quoted as in JSON, which YAML reads.
type yaml struct {
	b strings.Builder
}

func (y *yaml) line(depth int, format string, args ...any) {
	fmt.Fprintf(&y.b, "%s"+format+"\n", append([]any{strings.Repeat("  ", depth)}, args...)...)
}

func quote(s string) string {
	text, _ := json.Marshal(s) // a string
	return string(text)
}

// literal quotes text in which a Pod's manifest would have $(NAME) stand for a
// variable: there $$ is a dollar sign (Kubernetes, "Define dependent environment
// variables").
func literal(s string) string { return quote(strings.ReplaceAll(s, "$", "$$")) }

func literals(list []string) string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = literal(s)
	}
	return "[" + strings.Join(quoted, ",") + "]"
}

// ToKube writes a Plan as the manifest of a Pod, for podman kube play and kubectl,
// and lists what it can't say. An image is what a Pod's root always is; without one
// in the Plan it is image.
func ToKube(p *sandbox.Plan, name, image string) (manifest string, unsaidList []string) {
	u := &unsaid{}
	u.common(p)
	switch {
	case p.Root.OnImage():
		image = p.Root.Image.Name
	default:
		u.add("the host's own system files as the root: a Pod has an image, here %s", image)
	}
	y := &yaml{}
	y.line(0, "apiVersion: v1")
	y.line(0, "kind: Pod")
	y.line(0, "metadata:")
	y.line(1, "name: %s", quote(kubeName(name)))
	y.line(0, "spec:")
	y.line(1, "restartPolicy: Never")
	y.line(1, "automountServiceAccountToken: false")
	y.line(1, "enableServiceLinks: false")
	if p.Network == sandbox.NetHost {
		y.line(1, "hostNetwork: true")
	} else if p.Network == sandbox.NetNone {
		u.add("a network of nothing but loopback: a Pod has the cluster's (podman kube play --network none)")
	}
	if p.Namespaces.UTS {
		y.line(1, "hostname: %s", quote(kubeName(p.Hostname)))
	}
	if p.Process.Timeout > 0 {
		y.line(1, "activeDeadlineSeconds: %d", max(int64(p.Process.Timeout.Seconds()), 1))
	}
	y.line(1, "terminationGracePeriodSeconds: %d", int64(p.Process.StopTimeout.Seconds()))
	y.line(1, "containers:")
	y.line(1, "- name: %s", quote(kubeName(name)))
	y.container(p, image, u)
	y.volumes(p, u)
	if s := unix.Signal(p.Process.StopSignal); s != unix.SIGTERM {
		u.add("the stop signal %s", unix.SignalName(s))
	}
	if len(p.Limits) > 0 {
		u.add("limits of each process (open files, core and the like)")
	}
	return y.b.String(), u.list
}

func (y *yaml) container(p *sandbox.Plan, image string, u *unsaid) {
	pr := &p.Process
	y.line(2, "image: %s", quote(image))
	y.line(2, "command: %s", literals(pr.Argv))
	y.line(2, "workingDir: %s", quote(pr.Dir))
	if pr.Terminal != [3]bool{} {
		y.line(2, "tty: true")
		y.line(2, "stdin: true")
	}
	if known := env(pr.Env, u); len(known) > 0 {
		y.line(2, "env:")
		for _, kv := range known {
			n, v, _ := strings.Cut(kv, "=")
			y.line(2, "- name: %s", quote(n))
			y.line(3, "value: %s", literal(v))
		}
	}
	y.line(2, "securityContext:")
	y.line(3, "runAsUser: %d", p.IDs.UID)
	y.line(3, "runAsGroup: %d", p.IDs.GID)
	y.line(3, "allowPrivilegeEscalation: %t", !p.Security.NoNewPrivs)
	y.line(3, "readOnlyRootFilesystem: %t", p.Root.ReadOnly)
	y.line(3, "capabilities:")
	y.line(4, `drop: ["ALL"]`)
	y.line(3, "seccompProfile:")
	y.line(4, "type: RuntimeDefault")
	if p.Cgroup.On() {
		y.resources(&p.Cgroup.Limits, u)
	}
	if list := p.Net.Config.Publish; len(list) > 0 {
		y.line(2, "ports:")
		for _, o := range list {
			for i := range uint16(o.Ports()) {
				y.line(2, "- containerPort: %d", o.Port+i)
				y.line(3, "hostPort: %d", o.HostPort+i)
				y.line(3, "hostIP: %s", quote(o.Address.String()))
				y.line(3, "protocol: %s", strings.ToUpper(o.Protocol))
			}
		}
	}
	if h := &p.Health; len(h.Argv) > 0 {
		y.line(2, "livenessProbe:")
		y.line(3, "exec:")
		y.line(4, "command: %s", literals(h.Argv))
		y.line(3, "initialDelaySeconds: %d", int64(h.StartPeriod.Seconds()))
		y.line(3, "periodSeconds: %d", max(int64(h.Interval.Seconds()), 1))
		y.line(3, "timeoutSeconds: %d", max(int64(h.Timeout.Seconds()), 1))
		y.line(3, "failureThreshold: %d", h.Retries)
		u.add("that an unhealthy sandbox goes on: a failed livenessProbe restarts a container")
	}
}

// resources are the limits that hold for all of the sandbox.
func (y *yaml) resources(g *cgroup.Limits, u *unsaid) {
	var limits []string
	if g.MemoryMax > 0 {
		limits = append(limits, fmt.Sprintf("memory: %q", fmt.Sprint(g.MemoryMax)))
	}
	if g.CPUMax > 0 {
		limits = append(limits, fmt.Sprintf("cpu: %q", fmt.Sprintf("%dm", g.CPUMax)))
	}
	if len(limits) > 0 {
		y.line(2, "resources:")
		y.line(3, "limits:")
		for _, l := range limits {
			y.line(4, "%s", l)
		}
	}
	if g.PidsMax > 0 || g.MemoryHigh > 0 || g.SwapMax != 0 || g.CPUs != "" || len(g.IO) > 0 || g.CPUWeight > 0 {
		u.add("limits of processes, swap, memory_high, cpuset, cpu_weight and io, as far as the profile has them")
	}
}

// kept says whether a mount of the Plan is one of the Pod's: the rest of the tree
// is the image's.
func kept(m *sandbox.Mount) bool {
	switch m.Kind {
	case sandbox.Bind, sandbox.Layers:
		return !m.Grantable && !m.System
	case sandbox.Tmpfs:
		return !m.ReadOnly
	}
	return false
}

func (y *yaml) volumes(p *sandbox.Plan, u *unsaid) {
	var mounts, volumes yaml
	n := 0
	if p.Cgroup.Delegate {
		u.add("control groups of the command's own")
	}
	for i := range p.Mounts {
		m := &p.Mounts[i]
		if !kept(m) {
			if m.Kind == sandbox.Mask || m.Kind == sandbox.Guard && m.ReadOnly {
				u.add("%s, which is hidden or kept from being written", m.Target)
			}
			continue
		}
		volume := fmt.Sprintf("v%d", n)
		n++
		readOnly := m.ReadOnly
		volumes.line(1, "- name: %s", volume)
		if m.Kind == sandbox.Tmpfs {
			volumes.line(2, "emptyDir:")
			volumes.line(3, "medium: Memory")
			volumes.line(3, "sizeLimit: %q", fmt.Sprint(m.Size))
		} else {
			kind := "File"
			if m.IsDir {
				kind = "Directory"
			}
			volumes.line(2, "hostPath:")
			volumes.line(3, "path: %s", quote(m.Source))
			volumes.line(3, "type: %s", kind)
		}
		if m.Kind == sandbox.Layers {
			readOnly = true
			u.add("what is written to %s is kept apart: it is read-only in the Pod", m.Target)
			if len(m.Lower) > 0 {
				u.add("the layers of %s below %s: %s", m.Target, m.Source, strings.Join(m.Lower, ", "))
			}
		}
		mounts.line(2, "- name: %s", volume)
		mounts.line(3, "mountPath: %s", quote(m.Target))
		mounts.line(3, "readOnly: %t", readOnly)
	}
	if n > 0 {
		y.line(2, "volumeMounts:")
		y.b.WriteString(mounts.b.String())
		y.line(1, "volumes:")
		y.b.WriteString(volumes.b.String())
	}
}

// kubeName is a name as RFC 1123 has it for labels.
func kubeName(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '-'
	}, s)
	if s = strings.Trim(s[:min(len(s), 63)], "-"); s == "" {
		return "sandbox"
	}
	return s
}
