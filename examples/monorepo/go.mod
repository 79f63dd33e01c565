module shop.example

go 1.26.0
