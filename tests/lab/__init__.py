"""The lab: four real systemd hosts at two sites, inside one sealed box of namespaces on this machine.

rootfs.py    the hosts' root file system: Debian, built once, kept outside the checkout
sealed.py    starts the box and clears up behind it, whatever becomes of pytest
box.py       process 1 of the box: takes orders as JSON lines
network.py   sites as routers, hosts as ends of veth pairs
guest.py     one host: an overlay over the root file system, booted by systemd-nspawn
wan.py       the lines between the sites: delay, rate, loss, cuts
lab.py       what tests hold: Lab

company.py   a company on the hosts, and what its operator types
releases.py  other releases than this checkout's
load.py      clients that pull and push all the while
guide.py     the commands of a guide, typed as they stand there
figures.py   the deployer's speeds, printed (make lab-figures)
"""
