//! The help text.

pub(crate) const VERSION: &str = concat!("fetch (handclasp ", env!("CARGO_PKG_VERSION"), ")\n");

pub(crate) const HELP: &str = "\
Fetches URLs over pooled HTTP/1.1 connections, and shows where the time went.

Usage: fetch                      run a demonstration on this machine
       fetch [options] URL...

  -i, --include            write the status line and the fields before the body
  -o, --output FILE        write to FILE instead of stdout
  -n N                     fetch each URL N times
  -c C                     run up to C requests at the same time
  -L, --location           follow up to 10 redirects; otherwise a redirect is
                           written like any other response
  -f, --fail               treat a status of 400 or more as a failure, and do
                           not write its body
  -s, --silent             print only errors, and what --timings json prints
      --timings FORM       bars (the default) or json
      --timeout SECONDS    end each request after this time in total
      --cacert FILE        also trust the certificates in FILE (PEM)
      --resolve HOST:PORT:ADDRESS
                           connect to ADDRESS for HOST:PORT
  -h, --help               print this text
  -V, --version            print the version

What is sent:

  -X, --request METHOD     send METHOD instead of GET, or of POST with data
  -H, --header 'k: v'      send a header field (may be given several times)
  -u, --user USER:PASSWORD send Authorization: Basic
  -d, --data DATA          send DATA by POST, as the content of a form unless
                           -H sets Content-Type; several are joined by &
      --json DATA          send DATA by POST, with Content-Type and Accept
                           application/json unless -H sets them
      --compressed         ask for compressed content, and decode it (needs
                           --features gzip,deflate,brotli,zstd, or one of them)

DATA is sent as it is. @FILE sends the content of FILE, and @- what stdin has.

The body of each URL is written once, in the order of the URLs. With -n, the
body of the first fetch is written, and the others are discarded. After a
redirect to another origin, Authorization and Cookie are not sent, and the other
fields are.

One request prints its status, size, time, a bar of its phases, its connection,
and the time of each phase on stderr. Several requests print their bars at the
end on one time axis, so that the bars show which requests overlap, and then the
pool's ledger. conn 2 #3 is the third request on connection 2. Sizes count the
body after decoding. The letters of a bar:

  p earlier attempts and redirects   q queue   d dns   c connect   x proxy
  t tls   s send   w wait   r receive   ! the request failed

Bars have colours on a terminal, unless NO_COLOR is set. COLUMNS sets the width,
80 by default. A terminal that does not show a body shows the progress.

--timings json prints one JSON object on one line of stderr as each request
ends, and neither bars nor ledger. Times are in microseconds:

  url          the URL, without user and password
  method, status, error (one of status and error may be null)
  received     bytes of the body, after decoding
  start_us     start of the request, counted from the start of the program
  total_us     time from the start until the end of the body
  phases_us    previous, queued, dns, connect, proxy, tls, send, wait, receive;
               null for a phase that did not happen
  connection   id, ordinal (the number of the request on this connection),
               reused, peer; or null
  redirects    status and URL of each redirect before the response

Ctrl-C stops all requests and says what was written. With --timings json, this
message is an object with the one field \"interrupted\".

Exit status: 0 for success, 1 if a request or a write failed, 2 for a wrong
command line, 130 after Ctrl-C.
";
