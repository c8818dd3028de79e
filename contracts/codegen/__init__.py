"""Code generation: plugins for buf, and scripts that prepare its inputs."""
