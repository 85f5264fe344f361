// Has the compiler accept functions without bodies: main.go links one.
