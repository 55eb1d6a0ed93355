// Go's net/http, with the bodies that a program may send.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

func main() {
	url, body := os.Args[1], os.Args[2]
	for _, content := range []string{body, body, "{", strings.Repeat(" ", 6_000_000), body} {
		answer, err := http.Post(url+"/forecast", "application/json", strings.NewReader(content))
		if err != nil {
			fmt.Println(err)
			continue
		}
		io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
		fmt.Println(answer.StatusCode)
	}
}
