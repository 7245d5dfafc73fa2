# needs: perl
perl -MSocket -MIO::Handle -MPOSIX=:sys_wait_h -MFile::Temp -MTime::HiRes=usleep -e '
	socketpair(my $a, my $b, AF_UNIX, SOCK_STREAM, 0) or die "socketpair: $!";
	my $pid = fork // die "fork: $!";
	if (!$pid) { print $b "from the child\n"; $b->flush; exit 3 }
	my $line = <$a>;
	waitpid($pid, 0);
	die "status $?" unless WEXITSTATUS($?) == 3 && $line eq "from the child\n";
	local $SIG{ALRM} = sub { die "alarm\n" };
	eval { Time::HiRes::alarm(0.05); usleep(5e6) };
	die "no alarm: $@" unless $@ eq "alarm\n";
	my $f = File::Temp->new; flock($f, 2) or die "flock: $!";
	print "all of it\n"' | grep -x "all of it"
