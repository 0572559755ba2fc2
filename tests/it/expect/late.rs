//! a 100 that comes after the final response, when nobody waits for one.

use super::{CONTINUE, HEAD_END, OK, SECOND, content, counts, progress};
use crate::support::lines::{Lines, send, settle};

/// Sends one more request, and checks that it gets its own answer on the connection of this number.
async fn ask_again(lines: &Lines, client: &handclasp::Client, number: usize) {
    let sending = send(client.get("http://h/next"));
    let line = lines.written(number, HEAD_END).await;
    assert!(line.text().contains("GET /next "), "A-75");
    line.say("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nnext");
    assert_eq!(sending.await.unwrap().unwrap().text().await.unwrap(), "next", "A-75");
}

#[tokio::test(start_paused = true)]
async fn a_75_a_100_after_the_final_response_is_nobodys_answer() {
    // Columns: what the server says before it has the content, and after it has the content.
    for (before, after) in [
        // The content is not sent.
        (format!("{OK}{CONTINUE}"), None),
        // The content is sent after the silence, or after a first 100.
        (String::new(), Some(format!("{OK}{CONTINUE}"))),
        (CONTINUE.to_owned(), Some(format!("{OK}{CONTINUE}"))),
        (CONTINUE.to_owned(), Some(format!("{OK}{CONTINUE}{CONTINUE}HTTP/1.1 403 Forbidden\r\n\r\n"))),
    ] {
        let lines = Lines::default();
        let client = lines.client();
        let sending = send(client.post("http://h/").expect_continue().body("hello"));
        let line = lines.written(0, HEAD_END).await;
        line.say(&before);
        if before.is_empty() {
            // The silence lasts longer than the client waits for a 100.
            tokio::time::advance(SECOND * 2).await;
        }
        if let Some(after) = &after {
            lines.written(0, "hello").await.say(after);
        }
        let response = sending.await.unwrap().unwrap();
        let upload = if after.is_some() { (5, true, false) } else { (0, false, true) };
        assert_eq!((response.status().as_u16(), progress(response.upload())), (200, upload), "A-75");
        assert_eq!(response.text().await.unwrap(), "ok", "A-75");
        settle().await;
        assert_eq!((counts(&client), line.is_gone()), ((0, 0, 1), true), "A-75: {before:?} {after:?}");
        ask_again(&lines, &client, 1).await;
        assert_eq!(content(&line), if after.is_some() { "hello" } else { "" }, "A-75");
    }
}

#[tokio::test(start_paused = true)]
async fn a_75_a_100_on_an_idle_connection_is_nobodys_answer() {
    let lines = Lines::default();
    let client = lines.client();
    let sending = send(client.post("http://h/").expect_continue().body("hello"));
    let line = lines.written(0, HEAD_END).await;
    line.say(CONTINUE);
    lines.written(0, "hello").await.say(OK);
    assert_eq!(sending.await.unwrap().unwrap().text().await.unwrap(), "ok");
    assert_eq!(counts(&client), (1, 0, 0));
    line.say(CONTINUE);
    ask_again(&lines, &client, 1).await;
    assert!(line.is_gone() && !line.text().contains("/next"), "A-75: {}", line.text());
}
