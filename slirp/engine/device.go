package engine

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// Device is a TUN device as the link of a network stack. It has no addresses of
// hardware: packets are of IP, version 4 or 6.
type Device struct {
	file *os.File
	conn syscall.RawConn
	vnet bool
	mtu  atomic.Uint32

	mu         sync.RWMutex
	dispatcher stack.NetworkDispatcher
	closed     bool
	reader     sync.WaitGroup
	failed     func(error) // once, when the device can't be read any more
}

// maxPacket is the largest packet of IP, and so the largest that the kernel
// hands over with segmentation left to us.
const maxPacket = 65535

// NewDevice takes over the descriptor of a TUN device (IFF_TUN|IFF_NO_PI, with
// IFF_VNET_HDR if vnet). The caller must not use it any more. failed is called at
// most once, from another goroutine, when it can't be read any more.
func NewDevice(fd int, mtu int, vnet bool, failed func(error)) (*Device, error) {
	if vnet {
		// The kernel then leaves checksums and segmentation of TCP to whoever reads.
		if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, unix.TUN_F_CSUM|unix.TUN_F_TSO4|unix.TUN_F_TSO6); err != nil {
			unix.Close(fd)
			return nil, fmt.Errorf("TUN device: TUNSETOFFLOAD: %w", err)
		}
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("TUN device: %w", err)
	}
	d := &Device{file: os.NewFile(uintptr(fd), "TUN device"), vnet: vnet, failed: failed}
	d.mtu.Store(uint32(mtu))
	var err error
	if d.conn, err = d.file.SyscallConn(); err != nil {
		d.file.Close()
		return nil, fmt.Errorf("TUN device: %w", err)
	}
	return d, nil
}

// MTU implements stack.LinkEndpoint, as do the methods below.
func (d *Device) MTU() uint32 { return d.mtu.Load() }

// SetMTU sets what MTU returns.
func (d *Device) SetMTU(n uint32) { d.mtu.Store(n) }

// MaxHeaderLength is 0: there is no header of a link.
func (*Device) MaxHeaderLength() uint16 { return 0 }

// LinkAddress is empty.
func (*Device) LinkAddress() tcpip.LinkAddress { return "" }

// SetLinkAddress does nothing.
func (*Device) SetLinkAddress(tcpip.LinkAddress) {}

// Capabilities: checksums of what is read are known to be good, since a kernel
// computed them, or left them out. Not the other way round: the kernel checks
// what is written, unless it is told the checksum is still to be computed.
func (*Device) Capabilities() stack.LinkEndpointCapabilities {
	return stack.CapabilityRXChecksumOffload
}

// GSOMaxSize is how much the stack may send as one segment.
func (*Device) GSOMaxSize() uint32 {
	return maxPacket - header.IPv6MinimumSize - header.TCPHeaderMaximumSize
}

// SupportedGSO is by the kernel, if the device has the header for it.
func (d *Device) SupportedGSO() stack.SupportedGSO {
	if d.vnet {
		return stack.HostGSOSupported
	}
	return stack.GSONotSupported
}

// ARPHardwareType is none.
func (*Device) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareNone }

// AddHeader does nothing.
func (*Device) AddHeader(*stack.PacketBuffer) {}

// ParseHeader finds nothing to parse.
func (*Device) ParseHeader(*stack.PacketBuffer) bool { return true }

// SetOnCloseAction does nothing: nobody hands an action to it.
func (*Device) SetOnCloseAction(func()) {}

// IsAttached reports whether a stack reads from the device.
func (d *Device) IsAttached() bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.dispatcher != nil
}

// Attach starts reading; nil stops it.
func (d *Device) Attach(to stack.NetworkDispatcher) {
	d.mu.Lock()
	defer d.mu.Unlock()
	first := d.dispatcher == nil
	d.dispatcher = to
	if to != nil && first && !d.closed {
		d.reader.Go(func() { d.read(to) })
	}
}

// Close closes the device.
func (d *Device) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closed {
		d.closed = true
		d.file.Close()
	}
}

// Wait returns when nothing is read any more.
func (d *Device) Wait() { d.reader.Wait() }

// small packets are copied to a buffer of their size; a larger one keeps the
// buffer that it was read into.
const small = 4 << 10

// read hands every packet to the stack, until the device is closed.
func (d *Device) read(to stack.NetworkDispatcher) {
	var head [vnetLen]byte
	view := buffer.NewViewSize(maxPacket)
	iov := make([][]byte, 0, 2)
	for {
		iov = iov[:0]
		skip := 0
		if d.vnet {
			iov, skip = append(iov, head[:]), vnetLen
		}
		iov = append(iov, view.AsSlice())
		n := 0
		var err error
		waited := d.conn.Read(func(fd uintptr) bool {
			n, err = unix.Readv(int(fd), iov)
			return err != unix.EAGAIN
		})
		switch {
		case waited != nil: // closed
			view.Release()
			return
		case err == unix.EINTR:
			continue
		case err != nil || n == 0:
			view.Release()
			if err == nil {
				err = errors.New("end of file")
			}
			if d.failed != nil {
				d.failed(fmt.Errorf("reading from the TUN device: %w", err))
			}
			return
		}
		n -= skip
		if n <= 0 {
			continue
		}
		packet := view
		if n <= small {
			packet = buffer.NewViewWithData(view.AsSlice()[:n])
		} else {
			packet.CapLength(n)
			view = buffer.NewViewSize(maxPacket)
		}
		deliver(to, packet)
	}
}

// deliver hands over one packet, if it is of IP.
func deliver(to stack.NetworkDispatcher, packet *buffer.View) {
	var protocol tcpip.NetworkProtocolNumber
	switch header.IPVersion(packet.AsSlice()) {
	case header.IPv4Version:
		protocol = header.IPv4ProtocolNumber
	case header.IPv6Version:
		protocol = header.IPv6ProtocolNumber
	default:
		packet.Release()
		return
	}
	p := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithView(packet)})
	p.RXChecksumValidated = true
	to.DeliverNetworkPacket(protocol, p)
	p.DecRef()
}

// WritePackets sends packets to the sandbox. A device whose queue is full drops
// them, as every link does.
func (d *Device) WritePackets(list stack.PacketBufferList) (int, tcpip.Error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.closed {
		return 0, &tcpip.ErrClosedForSend{}
	}
	var head [vnetLen]byte
	iov := make([][]byte, 0, 8)
	sent := 0
	for _, p := range list.AsSlice() {
		iov = iov[:0]
		if d.vnet {
			putVNet(&head, p)
			iov = append(iov, head[:])
		}
		for _, s := range p.AsSlices() {
			if len(s) > 0 {
				iov = append(iov, s)
			}
		}
		var err error
		closed := d.conn.Write(func(fd uintptr) bool {
			_, err = unix.Writev(int(fd), iov)
			return true // never wait: the lock is held, and the packet can be sent again
		})
		if closed != nil {
			return sent, &tcpip.ErrClosedForSend{}
		}
		if err != nil {
			return sent, &tcpip.ErrNoBufferSpace{}
		}
		sent++
	}
	return sent, nil
}
