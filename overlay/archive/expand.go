package archive

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// Compression is how a stream is compressed, by its first bytes.
type Compression string

// The kinds that are known.
const (
	Plain Compression = "none"
	Gzip  Compression = "gzip"
	Zstd  Compression = "zstd"
	XZ    Compression = "xz"
	Bzip2 Compression = "bzip2"
)

// Detect tells how the stream that begins with head is compressed.
func Detect(head []byte) Compression {
	for i, c := range []Compression{Gzip, Bzip2, XZ, Zstd} {
		if bytes.HasPrefix(head, []byte(magics[i])) {
			return c
		}
	}
	return Plain
}

// slack is what any stream may grow to before its ratio is looked at: small
// layers of configuration compress very well.
const slack = 64 << 20

// maxWindow bounds the memory that a stream's own header can ask for.
const maxWindow = 128 << 20

// Expand uncompresses src. It fails with a *Refused once the result is more than
// ratio times as large as what it took from src.
func Expand(src io.Reader, ratio int64) (io.ReadCloser, Compression, error) {
	in := &counter{src: src}
	b := bufio.NewReaderSize(in, 1<<16)
	head, err := b.Peek(6)
	if err != nil && len(head) == 0 && err != io.EOF { //nolint:errorlint // bufio returns it bare
		return nil, Plain, err
	}
	e := &expander{in: in, ratio: ratio, close: func() {}}
	kind := Detect(head)
	switch kind {
	case Gzip:
		e.out, err = gzip.NewReader(b)
	case Bzip2:
		e.out, err = bzip2.NewReader(b), nil
	case XZ:
		e.out, err = xz.ReaderConfig{DictCap: 8 << 20}.NewReader(b)
	case Zstd:
		var d *zstd.Decoder
		d, err = zstd.NewReader(b, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(1<<62), zstd.WithDecoderConcurrency(1))
		if err == nil {
			e.out, e.close = d, d.Close
		}
	default:
		e.out, e.ratio, err = b, 0, nil
	}
	if err != nil {
		return nil, kind, fmt.Errorf("reading the %s stream: %w", kind, err)
	}
	return e, kind, nil
}

type counter struct {
	src io.Reader
	n   int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.src.Read(p)
	c.n += int64(n)
	return n, err
}

type expander struct {
	in    *counter
	out   io.Reader
	n     int64
	ratio int64 // 0 for none
	close func()
}

func (e *expander) Read(p []byte) (int, error) {
	n, err := e.out.Read(p)
	e.n += int64(n)
	if e.ratio > 0 && e.n > slack && e.n/e.ratio > e.in.n {
		return 0, &Refused{Why: fmt.Sprintf("it grows to more than %d times its size when uncompressed", e.ratio)}
	}
	return n, err
}

func (e *expander) Close() error {
	e.close()
	return nil
}
