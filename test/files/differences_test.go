package files

// difference is what a trial says otherwise in an overlay than on the bare file
// system; docs/FILES.md names them all.
type difference struct {
	trial      string
	backends   []string
	less, more []string // lines of the bare file system that are not there, and those in their place
}

var (
	both   = []string{"kernel", "fuse-overlayfs"}
	kernel = []string{"kernel"}
	fuse   = []string{"fuse-overlayfs"}
)

var differences = []difference{
	{"rename a directory", both, // of a lower layer
		[]string{"ok", `"n" 40755 old`, `"n/e" 40755 old`, `"n/e/g" 100644 old 2 768c71d785bf`, `"n/empty" 40755 old`, `"n/f" 100644 old 2 092fcfbbcfca`},
		[]string{"EXDEV", `"d" 40755 old`, `"d/e" 40755 old`, `"d/e/g" 100644 old 2 768c71d785bf`, `"d/empty" 40755 old`, `"d/f" 100644 old 2 092fcfbbcfca`}},
	{"sparse", both, []string{"has its holes: true"}, []string{"has its holes: false"}},
	// A lower file with two names is two files once one of them is written.
	{"two names of before", kernel,
		[]string{`"f" 100644 new 11 f1efce6ce117`, `"g" 100644 new 11 f1efce6ce117 the same as "f"`},
		[]string{`"f" 100644 old 6 b908e4daaf9d`, `"g" 100644 new 11 f1efce6ce117`}},
	{"hard link", kernel, []string{`"g" 100644 new 11 f1efce6ce117 the same as "f"`}, []string{`"g" 100644 new 11 f1efce6ce117`}},
	{"removed while open", fuse, []string{"links 0"}, []string{"links 1"}},
	{"without a name", fuse, []string{"ok", "ok ok", `"named" 100640 new 11 56959df2a6d6`}, []string{"ENOTSUP"}},
	// Names that begin with .wh. are its marks.
	{"names of marks", fuse,
		[]string{".wh.new ok", ".wh..wh..opq ok", ".wh.low ok", "low ok", `".wh..wh..opq" 100644 new 1 2d711642b726`, `".wh.low" 100644 new 1 2d711642b726`, `".wh.new" 100644 new 1 2d711642b726`, `"low" 100644 old 3 6c1ff09db3a7`},
		[]string{".wh.new EINVAL", ".wh..wh..opq EINVAL", ".wh.low EINVAL", "low ENOENT"}},
}

// later are trials after which a later run does not see the same, by backend.
var later = map[string][]string{
	// The two have inode numbers of their own until the kernel forgets them.
	"kernel": {"hard link"},
	// fuse-overlayfs 1.10 takes the two for one file still, and shows the lower one
	// by both names. In the upper is what was written.
	"fuse-overlayfs": {"two names of before"},
}
