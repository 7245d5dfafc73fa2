package doctor

import "github.com/sbx-sandbox/sbx/sandbox/host"

// images looks for the program that keeps images.
func images(f host.Facts) Check {
	path, err := host.Plumbing(f.Exe, "sbx-store")
	if err != nil {
		return missing("images", err.Error(), "install sbx whole: make build, or make install", false)
	}
	return ok("images", path)
}
