"""What is installed and from where it is known: the hashed locks, and what is said and checked about them."""
