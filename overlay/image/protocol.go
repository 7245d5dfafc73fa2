package image

// Protocol is the version of what sbx and sbx-store say to one another: a
// Request as JSON on sbx-store's standard input, Messages as lines of JSON on
// its standard output, of which the last is a result or an error.
const Protocol = 1

// The verbs of a Request.
const (
	VerbImport  = "import"
	VerbPull    = "pull"
	VerbExport  = "export"
	VerbIndex   = "index" // write index and records anew
	VerbRemove  = "remove"
	VerbPrune   = "prune"
	VerbTag     = "tag"
	VerbCommit  = "commit"
	VerbVersion = "version" // what it is, and how it would unpack; changes nothing
)

// Request is what sbx-store is asked to do.
type Request struct {
	Protocol int    `json:"protocol"`
	Verb     string `json:"verb"`
	Dir      string `json:"dir"` // the directory of images, absolute
	// Path is the file or directory of import and export, absolute.
	Path string `json:"path,omitempty"`
	// Names are the image's name for export and tag, those to be removed, the
	// reference to pull.
	Names []string `json:"names,omitempty"`
	// Name is the name to give: of import, pull, tag.
	Name string `json:"name,omitempty"`
	// Ref chooses one of several images in what is imported.
	Ref string `json:"ref,omitempty"`
	// Format is export's: "oci", "oci-archive", "docker-archive".
	Format string `json:"format,omitempty"`
	// PlainHTTP lets pull talk to a registry without TLS.
	PlainHTTP bool `json:"plain_http,omitempty"`
	// Force removes names of an image that has several, when it is named by its id.
	Force bool `json:"force,omitempty"`
	// All has prune remove every image that is not in use, not only those without a name.
	All bool `json:"all,omitempty"`
	// Commit is what commit makes of the overlay in Path.
	Commit *Commit `json:"commit,omitempty"`
	// Overlays is the directory of overlays: an image that one lies over stays.
	Overlays string `json:"overlays,omitempty"`
	Limits   Limits `json:"limits"`
}

// Commit is what is said of an image that is made of what a sandbox wrote.
type Commit struct {
	Author  string `json:"author,omitempty"`
	Message string `json:"message,omitempty"`
	// By is the command that wrote it, for the image's history.
	By string `json:"by,omitempty"`
	// Changes to the configuration, for ParseChange.
	Changes []string `json:"changes,omitempty"`
}

// Limits bound what is taken in by one import or pull. Zero is the default.
type Limits struct {
	// Size is the bytes of all layers unpacked, Entries the files in them.
	Size    int64 `json:"size,omitempty"`
	Entries int64 `json:"entries,omitempty"`
	// Ratio is how many times its own size a compressed layer may grow.
	Ratio int64 `json:"ratio,omitempty"`
	// Depth is how many directories deep a file may lie.
	Depth int64 `json:"depth,omitempty"`
	// Free is the bytes that stay free on the file system.
	Free int64 `json:"free,omitempty"`
}

// Default are the limits that hold where none is given.
var Default = Limits{Size: 32 << 30, Entries: 1_000_000, Ratio: 250, Depth: 256, Free: 256 << 20}

// OrDefault fills in what is not given.
func (l Limits) OrDefault() Limits {
	for _, f := range []struct {
		have *int64
		def  int64
	}{{&l.Size, Default.Size}, {&l.Entries, Default.Entries}, {&l.Ratio, Default.Ratio}, {&l.Depth, Default.Depth}, {&l.Free, Default.Free}} {
		if *f.have == 0 {
			*f.have = f.def
		}
	}
	return l
}

// Message is one line of sbx-store's.
type Message struct {
	Kind string `json:"kind"` // "progress", "info", "note" (a warning), "result", "error"
	Text string `json:"text,omitempty"`
	Hint string `json:"hint,omitempty"` // what to do about an error
	// Done and Total are bytes, Total 0 where it is not known.
	Done  int64 `json:"done,omitempty"`
	Total int64 `json:"total,omitempty"`
	// Images are the result: those that were made, named, removed.
	Images []*Record `json:"images,omitempty"`
	// Freed are the bytes that removing gave back.
	Freed int64 `json:"freed,omitempty"`
	// IDs is how sbx-store unpacks here, for VerbVersion.
	IDs *IDs `json:"ids,omitempty"`
	// Version is sbx-store's, for VerbVersion.
	Version string `json:"version,omitempty"`
}
