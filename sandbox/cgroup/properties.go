package cgroup

// Property is a property of a unit of systemd, see systemd.resource-control(5)
// and org.freedesktop.systemd1(5). Value is a bool, uint64, []byte or
// []DeviceRate.
type Property struct {
	Name  string
	Value any
}

// DeviceRate is an element of the properties that name devices.
type DeviceRate struct {
	Path string
	Rate uint64
}

// Properties says l in the words of systemd. Accounting is switched on for each
// controller in use, so that it is there for a group that systemd did not know
// to need it.
func (l *Limits) Properties() ([]Property, error) {
	var list []Property
	amount := func(name string, n int64) {
		switch {
		case n == None:
			list = append(list, Property{name, uint64(0)})
		case n != 0:
			list = append(list, Property{name, uint64(n)})
		}
	}
	for _, c := range l.Controllers() {
		switch c {
		case "cpu":
			list = append(list, Property{"CPUAccounting", true})
		case "io":
			list = append(list, Property{"IOAccounting", true})
		case "memory":
			list = append(list, Property{"MemoryAccounting", true})
		case "pids":
			list = append(list, Property{"TasksAccounting", true})
		}
	}
	if l.CPUs != "" {
		mask, err := l.CPUs.Mask()
		if err != nil {
			return nil, err
		}
		list = append(list, Property{"AllowedCPUs", mask})
	}
	amount("CPUQuotaPerSecUSec", l.CPUMax*1000)
	amount("CPUWeight", l.CPUWeight)
	list = append(list, l.rates()...)
	amount("MemoryHigh", l.MemoryHigh)
	amount("MemoryMax", l.MemoryMax)
	amount("MemorySwapMax", l.SwapMax)
	amount("TasksMax", l.PidsMax)
	return list, nil
}

func (l *Limits) rates() []Property {
	var list []Property
	for _, p := range []struct {
		name string
		rate func(IO) uint64
	}{
		{"IOReadBandwidthMax", func(io IO) uint64 { return io.ReadBPS }},
		{"IOWriteBandwidthMax", func(io IO) uint64 { return io.WriteBPS }},
		{"IOReadIOPSMax", func(io IO) uint64 { return io.ReadIOPS }},
		{"IOWriteIOPSMax", func(io IO) uint64 { return io.WriteIOPS }},
	} {
		var rates []DeviceRate
		for _, io := range l.IO {
			if n := p.rate(io); n != 0 {
				rates = append(rates, DeviceRate{io.Path, n})
			}
		}
		if rates != nil {
			list = append(list, Property{p.name, rates})
		}
	}
	return list
}
