"""Everything that turns a servicer into a process on the mesh."""
