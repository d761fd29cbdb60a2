"""What stands below the options in the help of each command: how it is used, and what one would ask next."""

COMMAND = """\
examples:
  portside serve shout:Shout tcp://127.0.0.1:9000
  portside echo 7007 udp://127.0.0.1:7007
  portside connect 9000
  portside serve --help

endpoints:
  9000                     TCP on loopback          tcp://:9000         TCP on all interfaces
  tcp://[::1]:9000         TCP over IPv6            udp://127.0.0.1:53  UDP
  tls://localhost:9000     TCP, encrypted           https://localhost   the same, HTTP
  unix:/run/app.sock       a Unix stream socket     unixgram:@name      Unix datagrams, abstract name
  fd:3                     an inherited socket      systemd:            systemd's sockets; systemd:NAME one of them
"""

SERVE = """\
examples:
  portside serve shout:Shout 9000
  portside serve shout:Shout tcp://:9000 "unix:/run/shout.sock?mode=660" --max-handlers 500
  portside serve chat.server:Chat 9000 --engine async --drain 5 --verbose
  portside serve shout:Shout "tls://:9000?cert=cert.pem&key=key.pem"
  PORTSIDE_ENGINE=green portside serve shout:Shout 9000 --limits.burst-per-host 20

HANDLER is a handler class (or any callable of a request, its client's address and the server) of the module, which is
looked for in the current directory first. Ctrl-C or SIGTERM ends it: handlers have --drain seconds to finish. A second
one ends what is left at once. The command line comes before the variables of the environment that stand in brackets;
every option of `portside run --help` is taken here, too.
"""

WSGI = """\
examples:
  portside wsgi shop:app
  portside wsgi shop.wsgi:application tcp://:8000 "unix:/run/shop.sock?mode=660" --access-log -
  portside wsgi shop:app 8000 --engine forks --max-handlers 8 --access-log /var/log/shop.log --log-form json

APP is a WSGI application (PEP 3333) of the module, which is looked for in the current directory first: Flask's
`app`, Django's `application`. Ctrl-C or SIGTERM ends it: answers under way have --drain seconds to finish.
"""

CONFIGURED = """\
examples:
  portside {name} portside.toml
  portside {name} portside.toml --engine green --limits.per-host 50
  PORTSIDE_LIMITS__PER_HOST=50 portside {name} --handler shout:Shout --endpoints tcp://:9000

What the command line says holds before the environment, and that before the file. Each option is a variable, too:
`limits.per_host` in the file is PORTSIDE_LIMITS__PER_HOST.
"""

HTTP = """\
examples:
  portside http                # this folder, for this machine, at http://127.0.0.1:8000/
  portside http tcp://:8080    # for the network; the link for other machines is told
  portside http --directory site --access-log - 8080
  portside http --upload --upload-limit 2G tcp://:8000
  portside http --tls=dev https://localhost:8443
  portside http --cgi "unix:/run/site.sock?mode=660"
  portside http --cors "*" -H Cache-Control no-store --file-options.listings false

Ranges, entity tags and compression need no option. Only this machine can reach it unless the endpoint says otherwise,
as tcp://:8080 does. Every option of `portside run --help` is taken here, too. `python -m portside.http.server` takes
the options of `python -m http.server`.
"""

CTL = """\
examples:
  portside ctl 9100 snapshot
  portside ctl unix:/run/app/admin.sock ban 192.0.2.7 --seconds 3600
  portside ctl 9100 close 1f3a-7f17a5344dc0-34c43bfd0
  portside ctl 9100 snapshot --limit 20
  PORTSIDE_ADMIN=unix:/run/app/admin.sock portside ctl health

Prints what the service replies: JSON, or for metrics Prometheus' text. Ends with 0 when it is done, 1 when it was
refused, 2 when the command line cannot be, and 3 when nobody answers at ADMIN.
"""

TOP = """\
examples:
  portside top 9100
  portside top unix:/run/app/admin.sock
  portside top 9100 > now.txt

Keys: arrows choose a connection, c closes it, b bans its host; p pauses accepting, r resumes, d drains; q quits.
Without a terminal it prints what there is, once.
"""

CONNECT = """\
examples:
  portside connect 9000
  portside connect tcp://mail.example.org:25 --crlf
  portside connect https://example.org --crlf
  echo hello | portside connect udp://127.0.0.1:7007 --wait 0.5

On a connection, everything goes through as it is; the end of the input is told to the server, and the server's end
ends the command. On a datagram endpoint each line is a datagram, and each answer a line.
"""

DIAGNOSTIC = """\
examples:
  portside {name} 9000
  portside {name} tcp://:9000 udp://:9000 --quiet

A datagram whose sender's port is a server's (below 1024, or the endpoint's own) is not answered, and echo and chargen
never answer with more bytes than they got: forged senders cannot use this service against others.
"""
