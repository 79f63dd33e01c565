// Command program is what the images of the tests run: there is no shell in them.
package main

import (
	"fmt"
	"os"
	"time"
)

func main() {
	switch os.Args[1] {
	case "write":
		if err := os.WriteFile(os.Args[2], []byte("written\n"), 0o644); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	case "fail":
		fmt.Println("this build is meant to fail")
		os.Exit(3)
	case "sleep":
		fmt.Println("sleeping in", os.Args[2])
		time.Sleep(time.Hour)
	}
}
