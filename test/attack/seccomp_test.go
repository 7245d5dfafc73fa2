package attack

// unfiltered takes the system call filter away, for rows about what holds
// without it: two walls are two only if each stands by itself.
const unfiltered = "[security]\nseccomp = \"unconfined\"\n"
