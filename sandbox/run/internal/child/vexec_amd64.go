package child

// vexec starts a program by vfork(2) with the descriptor null for its standard ones
// and a signal mask. It returns when the program was executed, or could not be: then
// it ends with 127. A negative number is an errno.
//
//go:noescape
func vexec(path *byte, argv, envp **byte, null int, mask *uint64) (pid int)
