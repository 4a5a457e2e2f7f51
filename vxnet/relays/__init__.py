"""What arrives at published ports of the host, passed on to members, and their answers back."""
