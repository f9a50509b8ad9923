// Command check reads a Grafana dashboard by Grafana's own schema: no field unknown, none missing.
package main

import (
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

func main() {
	schemas := cog.NewRuntime()
	schemas.RegisterDataqueryVariant(prometheus.VariantConfig())
	schemas.RegisterPanelcfgVariant(timeseries.VariantConfig())
	for _, path := range os.Args[1:] {
		if err := check(path); err != nil {
			fmt.Fprintf(os.Stderr, "%s:\n%s\n", path, err)
			os.Exit(1)
		}
	}
}

func check(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	board := dashboard.Dashboard{}
	// Its error is empty, not nil, where all is well.
	if err := board.UnmarshalJSONStrict(data); err != nil && err.Error() != "" {
		return err
	}
	return board.Validate()
}
