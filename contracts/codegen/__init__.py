"""Code generation: what buf runs, and what gives buf its inputs."""
