"""Arms and experiments of the studies: papers, and the claims of the lecture."""
