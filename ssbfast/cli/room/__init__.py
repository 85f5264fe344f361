"""`ssbfast room`: run a room, and the commands by which its operator looks after it."""
