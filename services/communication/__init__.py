"""Communication: mail made from templates, stored before it is sent, so that none is lost and none is sent twice."""
