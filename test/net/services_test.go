package net

import (
	"archive/zip"
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sbx-sandbox/sbx/test/reach"
)

// services are addresses of what real clients fetch from: port 443 of each has all
// of packages, by their names; sshPort of one has git by ssh.
var services = []string{"198.51.100.30/32", "198.51.100.31/32", "198.51.100.32/32", "198.51.100.33/32", "198.51.100.34/32"}

// sshAddr is where git is served by ssh.
const sshAddr = "198.51.100.33:22"

// What the world's services are made of, by serveClients.
var (
	certificate tls.Certificate
	authority   []byte // what clients are to trust, PEM
	clientKey   []byte // with which ssh is let in
	hostKey     string // a line of known_hosts
	repository  string // holds hello.git, which is served
	tarball     []byte // of npm
	wheel       []byte
)

// packages are a module proxy, registries of npm and Python, and git.
var packages http.Handler

// serveClients makes what clients fetch, and serves ssh.
func serveClients() (err error) {
	if certificate, authority, err = reach.Certificate("modules.example", "npm.example", "pypi.example", "git.example", "web.example"); err != nil {
		return err
	}
	if repository, err = os.MkdirTemp("", "sbx-net-git-"); err != nil {
		return err
	}
	if err := makeRepository(repository); err != nil {
		return err
	}
	module, err := zipped(map[string]string{
		"example.org/hello@v1.0.0/go.mod":   "module example.org/hello\n",
		"example.org/hello@v1.0.0/hello.go": "package hello\n",
	})
	if err != nil {
		return err
	}
	const info = "Metadata-Version: 2.1\nName: hello\nVersion: 1.0\n"
	if wheel, err = zipped(map[string]string{
		"hello.py":                     "print('hello')\n",
		"hello-1.0.dist-info/METADATA": info,
		"hello-1.0.dist-info/WHEEL":    "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
		"hello-1.0.dist-info/RECORD":   "hello.py,,\nhello-1.0.dist-info/METADATA,,\nhello-1.0.dist-info/WHEEL,,\nhello-1.0.dist-info/RECORD,,\n",
	}); err != nil {
		return err
	}
	if tarball, err = npmTarball(); err != nil {
		return err
	}
	packages = mux(module)
	return serveSSH()
}

func mux(module []byte) http.Handler {
	m := http.NewServeMux()
	give := func(pattern string, b []byte) {
		m.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(b) })
	}
	const at = "modules.example/example.org/hello/@v/"
	give(at+"list", []byte("v1.0.0\n"))
	give(at+"v1.0.0.info", []byte(`{"Version":"v1.0.0","Time":"2024-01-01T00:00:00Z"}`))
	give(at+"v1.0.0.mod", []byte("module example.org/hello\n"))
	give(at+"v1.0.0.zip", module)
	give("npm.example/hello/-/hello-1.0.0.tgz", tarball)
	m.HandleFunc("pypi.example/simple/hello/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<a href="/files/hello-1.0-py3-none-any.whl#sha256=%x">hello-1.0-py3-none-any.whl</a>`, sha256.Sum256(wheel))
	})
	give("pypi.example/files/", wheel)
	m.Handle("git.example/", &cgi.Handler{
		Path: "/usr/bin/git", Args: []string{"http-backend"}, Dir: repository,
		Env:    []string{"GIT_PROJECT_ROOT=" + repository, "GIT_HTTP_EXPORT_ALL=1", "HOME=" + repository, "PATH=/usr/bin:/bin"},
		Logger: nil, Stderr: io.Discard,
	})
	m.Handle("/", reach.Hello)
	return m
}

func zipped(files map[string]string) ([]byte, error) {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for name, text := range files {
		f, err := w.Create(name)
		if err != nil {
			return nil, err
		}
		if _, err := io.WriteString(f, text); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return b.Bytes(), err
}

// npmTarball is a package as npm pack makes it, by tar(1).
func npmTarball() ([]byte, error) {
	dir, err := os.MkdirTemp("", "sbx-net-npm-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := os.Mkdir(filepath.Join(dir, "package"), 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "package/package.json"), []byte(`{"name":"hello","version":"1.0.0"}`), 0o644); err != nil {
		return nil, err
	}
	return exec.Command("tar", "-C", dir, "-cz", "package").Output()
}

// makeRepository makes a repository with one commit.
func makeRepository(dir string) error {
	script := `set -e; cd "$0"; git init -q -b main w; cd w; echo hello >README; git add README
		git -c user.name=w -c user.email=w@example.org commit -q -m one; cd ..; git clone -q --bare w hello.git`
	cmd := exec.Command("sh", "-c", script, dir)
	cmd.Env = []string{"HOME=" + dir, "PATH=/usr/bin:/bin", "GIT_CONFIG_NOSYSTEM=1"}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("making a repository: %w: %s", err, out)
	}
	return nil
}

// serveSSH serves the repository by ssh, to whoever has the key.
func serveSSH() error {
	own, err := newKey()
	if err != nil {
		return err
	}
	signer, err := ssh.NewSignerFromKey(own)
	if err != nil {
		return err
	}
	hostKey = "git.example " + string(ssh.MarshalAuthorizedKey(signer.PublicKey()))
	theirs, err := newKey()
	if err != nil {
		return err
	}
	block, err := ssh.MarshalPrivateKey(theirs, "")
	if err != nil {
		return err
	}
	clientKey = pem.EncodeToMemory(block)
	public, err := ssh.NewPublicKey(theirs.Public())
	if err != nil {
		return err
	}
	config := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if !bytes.Equal(key.Marshal(), public.Marshal()) {
			return nil, errors.New("another key")
		}
		return nil, nil
	}}
	config.AddHostKey(signer)
	l, err := net.Listen("tcp", sshAddr)
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serveGit(c, config)
		}
	}()
	return nil
}

func newKey() (ed25519.PrivateKey, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	return key, err
}

// serveGit answers the one command that git fetch runs by ssh.
func serveGit(c net.Conn, config *ssh.ServerConfig) {
	defer c.Close()
	if c.SetDeadline(time.Now().Add(time.Minute)) != nil {
		return
	}
	_, channels, requests, err := ssh.NewServerConn(c, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for offered := range channels {
		channel, orders, err := offered.Accept()
		if err != nil {
			return
		}
		for order := range orders {
			var exec struct{ Command string }
			if order.Type != "exec" || ssh.Unmarshal(order.Payload, &exec) != nil || !strings.HasPrefix(exec.Command, "git-upload-pack ") {
				_ = order.Reply(false, nil)
				continue
			}
			_ = order.Reply(true, nil)
			status := uploadPack(channel)
			_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
			channel.Close()
		}
	}
}

func uploadPack(channel ssh.Channel) uint32 {
	cmd := exec.Command("/usr/bin/git", "upload-pack", filepath.Join(repository, "hello.git"))
	cmd.Env = []string{"HOME=" + repository, "PATH=/usr/bin:/bin"}
	cmd.Stdout = channel
	in, err := cmd.StdinPipe()
	if err != nil || cmd.Start() != nil {
		return 1
	}
	go func() {
		_, _ = io.Copy(in, channel) // until the client has what it wants
		in.Close()
	}()
	if cmd.Wait() != nil {
		return 1
	}
	return 0
}
