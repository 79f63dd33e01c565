// Static serves the files of /www, or of the directory that it is given.
package main

import (
	"log"
	"net"
	"net/http"
	"os"
)

func main() {
	dir := "/www"
	if len(os.Args) > 1 {
		dir = os.Args[1]
	}
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	listener, err := net.Listen("tcp", ":"+port)
	if err != nil {
		log.Fatal(err)
	}
	log.Print("listening on ", listener.Addr())
	log.Fatal(http.Serve(listener, http.FileServer(http.Dir(dir))))
}
