package main

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// oldSetIDs are ways to make such files that newer architectures lack.
func oldSetIDs(at func(string) uintptr) []raw {
	return []raw{
		{"chmod", unix.SYS_CHMOD, [6]uintptr{at(""), 0o4755}, nil},
		{"mknod", unix.SYS_MKNOD, [6]uintptr{at(".mknod"), unix.S_IFREG | 0o4755}, nil},
		{"creat", unix.SYS_CREAT, [6]uintptr{at(".creat"), 0o4755}, nil},
		{"open", unix.SYS_OPEN, [6]uintptr{at(".open"), unix.O_CREAT | unix.O_WRONLY, 0o4755}, nil},
	}
}

// compatCall makes a call of the 386 by int $0x80, which a program of 64 bits
// can do as well as one of 32.
func compatCall(nr, a, b uintptr) error {
	page, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		fail("%v", err)
	}
	put := func(code []byte, opcode byte, v uintptr) []byte {
		return binary.LittleEndian.AppendUint32(append(code, opcode), uint32(v))
	}
	const at = 2048                 // where the result goes
	code := put(nil, 0xb8, nr)      // mov $nr, %eax
	code = put(code, 0xbb, a)       // mov $a, %ebx
	code = put(code, 0xb9, b)       // mov $b, %ecx
	code = append(code, 0xcd, 0x80) // int $0x80
	code = append(code, 0x48, 0xa3) // mov %rax, at
	code = binary.LittleEndian.AppendUint64(code, uint64(uintptr(unsafe.Pointer(&page[at]))))
	code = append(code, 0xc3) // ret
	copy(page, code)
	entry := &page[0]
	call := &entry // a Go function is the address of a word with its code's address
	(*(*func())(unsafe.Pointer(&call)))()
	if r := int32(binary.LittleEndian.Uint32(page[at:])); r < 0 {
		return unix.Errno(-r)
	}
	return nil
}
