// Api tells the shop's prices in other currencies:
//
//	GET /price?cents=1250&currency=USD
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"

	"shop.example/lib/rates"
)

func main() {
	http.HandleFunc("GET /price", price)
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	listener, err := net.Listen("tcp", ":"+port)
	if err != nil {
		log.Fatal(err)
	}
	log.Print("listening on ", listener.Addr())
	log.Fatal(http.Serve(listener, nil))
}

func price(w http.ResponseWriter, r *http.Request) {
	cents, err := strconv.ParseInt(r.FormValue("cents"), 10, 64)
	if err != nil || cents < 0 || cents > 1e9 {
		http.Error(w, "cents is a number from 0 to 1000000000", http.StatusBadRequest)
		return
	}
	currency := r.FormValue("currency")
	amount, ok := rates.Convert(cents, currency)
	if !ok {
		http.Error(w, "there is no rate for that currency", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]string{
		"amount":   fmt.Sprintf("%d.%02d", amount/100, amount%100),
		"currency": currency,
	})
}
