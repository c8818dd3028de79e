"""The whole mesh on one machine: its processes, database, mail and keys.

The modules, by subject:

    supervisor, parts, preflight    mesh with all its parts, their names, and the checks before its start
    service_processes, child        processes of the services, and a child process with its log
    processes, process_starter      start of a process, in an interpreter of its own or as a fork
    forking, fork_server            fork server as the supervisor uses it, and the program itself
    preloading                      code that the fork server loads once for all services
    one_process                     program of all services, for `solo60 up --one-process`
    readiness, monitor              wait until a part serves, and restarts of parts that ended
    restart_backoff, orphans        pauses before restarts, and services that a killed mesh has left
    commands, control               requests from other processes to a running mesh
    folder_lock, held_ports         lock of the data folder, and reserved ports
    supervised_settings, keys       settings and keys of the services
    service_databases, postgres/    databases of the services, and the embedded PostgreSQL
    mail_sink, disk, reset          received mail, checks of the disk, and removal of all data
    movable_clock, advance          clock of a mesh, and its advance in steps
    log_reader, log_follower        lines of all logs by time, and lines that are added to a log
"""
