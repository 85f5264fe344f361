module ssbfast-interop-peer

go 1.16

require (
	github.com/ssbc/go-muxrpc/v2 v2.0.14-0.20221111190521-10382533750c
	github.com/ssbc/go-netwrap v0.1.5-0.20221019160355-cd323bb2e29d
	github.com/ssbc/go-secretstream v1.2.11-0.20221111164233-4b41f899f844
)
