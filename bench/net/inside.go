package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/slirp"
	"github.com/sbx-sandbox/sbx/slirp/tun"
)

// inside answers questions, one a line, with a number or an error.
func inside() error {
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		v, err := answer(lines.Text())
		if err != nil {
			fmt.Println("error:", err)
		} else {
			fmt.Println(v)
		}
	}
	return nil
}

func answer(question string) (float64, error) {
	f := strings.Fields(question)
	do, ok := questions[f[0]]
	if !ok {
		return 0, errors.New("no question " + f[0])
	}
	return do(f[1:])
}

var questions = map[string]func([]string) (float64, error){
	"tun":       makeTUN,
	"interface": waitInterface,
	"first":     first,
	"connect":   connects,
	"rtt":       rtt,
	"tx":        transmit,
	"rx":        receive,
	"serve":     beServer,
}

func makeTUN(args []string) (float64, error) {
	fd, err := tun.Open("sbx0", args[0] == "true")
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	i, err := tun.Index("sbx0")
	if err != nil {
		return 0, err
	}
	if err := tun.Up(i, slirp.DefaultMTU); err != nil {
		return 0, err
	}
	for _, a := range []slirp.Addr{slirp.Default4, slirp.Default6} {
		if err := tun.AddAddress(i, a.Address); err != nil {
			return 0, err
		}
		if err := tun.AddRoute(i, netip.PrefixFrom(a.Gateway, 0).Masked(), a.Gateway); err != nil {
			return 0, err
		}
	}
	return 0, unix.Sendmsg(3, []byte("t"), unix.UnixRights(fd), nil, 0)
}

// waitInterface waits until a helper made its interface and its addresses.
func waitInterface(args []string) (float64, error) {
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		i, err := net.InterfaceByName(args[0])
		if err != nil {
			continue
		}
		addrs, err := i.Addrs()
		if err == nil && slices.ContainsFunc(addrs, func(a net.Addr) bool { return strings.Contains(a.String(), ".") }) {
			return 0, nil
		}
	}
	return 0, errors.New("the interface did not come")
}

// first waits for the first answer.
func first(args []string) (float64, error) {
	var err error
	for end := time.Now().Add(stuck); time.Now().Before(end); time.Sleep(time.Millisecond) {
		var c net.Conn
		if c, err = net.DialTimeout("tcp", args[0], time.Second); err != nil {
			continue
		}
		_, err = pingPong(c, 1)
		c.Close()
		if err == nil {
			return 0, nil
		}
	}
	return 0, err
}

// stuck is how long an answer may take until the way counts as broken.
const stuck = 5 * time.Second

func pingPong(c net.Conn, n int) ([]time.Duration, error) {
	if err := c.SetDeadline(time.Now().Add(stuck)); err != nil {
		return nil, err
	}
	var b [1]byte
	var times []time.Duration
	for range n {
		began := time.Now()
		if _, err := c.Write(b[:]); err != nil {
			return nil, err
		}
		if _, err := io.ReadFull(c, b[:]); err != nil {
			return nil, err
		}
		times = append(times, time.Since(began))
	}
	slices.Sort(times)
	return times, nil
}

// rtt is the median of many round trips, µs.
func rtt(args []string) (float64, error) {
	c, err := net.DialTimeout("tcp", args[0], stuck)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	times, err := pingPong(c, 1000)
	if err != nil {
		return 0, err
	}
	return float64(times[len(times)/2].Nanoseconds()) / 1000, nil
}

// connects is how often a second one can connect, hear an answer, and close.
func connects(args []string) (float64, error) {
	n := 0
	began := time.Now()
	for time.Since(began) < 500*time.Millisecond {
		c, err := net.DialTimeout("tcp", args[0], stuck)
		if err != nil {
			return 0, err
		}
		_, err = pingPong(c, 1)
		c.Close()
		if err != nil {
			return 0, err
		}
		n++
	}
	return float64(n) / time.Since(began).Seconds(), nil
}

// transmit is how much leaves, Gbit/s.
func transmit(args []string) (float64, error) {
	return throughput(args, func(c net.Conn, b []byte) (int, error) { return c.Write(b) })
}

// receive is how much comes in, Gbit/s.
func receive(args []string) (float64, error) {
	return throughput(args, func(c net.Conn, b []byte) (int, error) { return c.Read(b) })
}

func throughput(args []string, move func(net.Conn, []byte) (int, error)) (float64, error) {
	d, err := time.ParseDuration(args[1])
	if err != nil {
		return 0, err
	}
	c, err := net.DialTimeout("tcp", args[0], stuck)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(d)); err != nil {
		return 0, err
	}
	b := make([]byte, block)
	total := 0
	began := time.Now()
	for {
		n, err := move(c, b)
		total += n
		var late net.Error
		if errors.As(err, &late) && late.Timeout() {
			break
		}
		if err != nil {
			return 0, err
		}
	}
	return float64(total) * 8 / 1e9 / time.Since(began).Seconds(), nil
}
