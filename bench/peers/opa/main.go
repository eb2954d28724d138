// Opapeer asks OPA, in its own process and without HTTP, the questions of one benchmark.
//
// It reads one JSON document from standard input: a Rego module, the data, the query, the inputs and how often
// to pass over them. It answers every input once, measures, and prints one JSON document: the answers, and the questions
// answered a second of processor time (all threads of the process, the garbage collector's included).
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/version"
)

type task struct {
	Module string         `json:"module"`
	Query  string         `json:"query"`
	Data   map[string]any `json:"data"`
	Inputs []any          `json:"inputs"`
	Passes int            `json:"passes"`
}

type outcome struct {
	Version string  `json:"version"`
	Answers []any   `json:"answers"`
	Built   float64 `json:"built"`
	Values  float64 `json:"values"`
}

func main() {
	runtime.GOMAXPROCS(1)
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	var given task
	if err := json.NewDecoder(os.Stdin).Decode(&given); err != nil {
		return err
	}
	query, err := rego.New(
		rego.Query(given.Query),
		rego.Module("bench.rego", given.Module),
		// Data is kept as OPA's own values, which is the faster of its two ways to read it.
		rego.Store(inmem.NewFromObjectWithOpts(given.Data, inmem.OptReturnASTValuesOnRead(true))),
	).PrepareForEval(ctx)
	if err != nil {
		return err
	}
	built := make([]rego.EvalOption, len(given.Inputs))
	plain := make([]rego.EvalOption, len(given.Inputs))
	for i, input := range given.Inputs {
		value, err := ast.InterfaceToValue(input)
		if err != nil {
			return err
		}
		built[i], plain[i] = rego.EvalParsedInput(value), rego.EvalInput(input)
	}
	found := outcome{Version: version.Version}
	for i := range built {
		results, err := query.Eval(ctx, plain[i])
		if err != nil {
			return err
		}
		if len(results) != 1 {
			return fmt.Errorf("question %d has %d answers", i, len(results))
		}
		found.Answers = append(found.Answers, results[0].Expressions[0].Value)
	}
	if found.Built, err = rate(ctx, query, built, given.Passes); err != nil {
		return err
	}
	if found.Values, err = rate(ctx, query, plain, given.Passes); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(found)
}

// rate returns questions answered a second of processor time, the best of some passes over all of them.
func rate(ctx context.Context, query rego.PreparedEvalQuery, asked []rego.EvalOption, passes int) (float64, error) {
	best := 0.0
	for pass := 0; pass < passes; pass++ {
		start := processorTime()
		for _, input := range asked {
			if _, err := query.Eval(ctx, input); err != nil {
				return 0, err
			}
		}
		best = max(best, float64(len(asked))/(processorTime()-start).Seconds())
	}
	return best, nil
}

func processorTime() time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		panic(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
