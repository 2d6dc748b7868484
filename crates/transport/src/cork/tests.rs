use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// Takes at most `step` bytes a write and keeps what each took.
struct Slow {
    step: usize,
    writes: Arc<Mutex<Vec<Vec<u8>>>>,
    broken: Arc<AtomicBool>,
    incoming: &'static [u8],
    reads: Arc<Mutex<usize>>,
    /// Bytes on the wire after the last flush, which every second time waits.
    flushed: Arc<AtomicUsize>,
    waited: bool,
}

impl AsyncRead for Slow {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        *self.reads.lock() += 1;
        let (now, later) = self.incoming.split_at(self.incoming.len().min(buf.remaining()));
        buf.put_slice(now);
        self.incoming = later;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Slow {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if self.broken.load(Ordering::Relaxed) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        // Every second time it has no room, as a full socket.
        if self.step < usize::MAX && self.writes.lock().len() % 2 == 1 {
            self.writes.lock().push(Vec::new());
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let taken = data.len().min(self.step);
        self.writes.lock().push(data[..taken].to_vec());
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.waited = !self.waited;
        if self.waited {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.flushed.store(self.writes.lock().concat().len(), Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

struct Setup {
    stream: Io,
    corks: Corks,
    writes: Arc<Mutex<Vec<Vec<u8>>>>,
    reads: Arc<Mutex<usize>>,
    broken: Arc<AtomicBool>,
    flushed: Arc<AtomicUsize>,
}

fn setup(step: usize, incoming: &'static [u8]) -> Setup {
    let writes = Arc::<Mutex<Vec<Vec<u8>>>>::default();
    let reads = Arc::<Mutex<usize>>::default();
    let broken = Arc::<AtomicBool>::default();
    let flushed = Arc::<AtomicUsize>::default();
    let slow = Slow {
        step,
        writes: writes.clone(),
        broken: broken.clone(),
        incoming,
        reads: reads.clone(),
        flushed: flushed.clone(),
        waited: false,
    };
    let (stream, corks) = cork(Io::Wrapped(Box::new(slow)));
    Setup { stream, corks, writes, reads, broken, flushed }
}

#[tokio::test]
async fn the_writes_of_one_turn_leave_together() {
    let mut setup = setup(usize::MAX, b"");
    let writes = setup.writes.clone();
    uncork(Some(setup.corks), async move {
        for part in ["head", "message", "trailers"] {
            setup.stream.write_all(part.as_bytes()).await.unwrap();
            setup.stream.flush().await.unwrap();
        }
        assert!(setup.writes.lock().is_empty());
        tokio::task::yield_now().await;
        assert_eq!(*setup.writes.lock(), [b"headmessagetrailers".to_vec()]);
        setup.stream.write_all(b"next").await.unwrap();
    })
    .await;
    assert_eq!(writes.lock().len(), 2);
}

#[tokio::test]
async fn answers_that_come_together_do_not_wait_for_the_last() {
    let mut setup = setup(usize::MAX, b"");
    let (corks, writes) = (setup.corks.clone(), setup.writes.clone());
    uncork(Some(setup.corks), async move {
        for answer in 0..2 * TOGETHER + 1 {
            corks.begin_answer();
            setup.stream.write_all(format!("{answer},").as_bytes()).await.unwrap();
            setup.stream.flush().await.unwrap();
        }
        assert_eq!(*setup.writes.lock(), [&b"0,1,2,3,4,5,6,7,"[..], b"8,9,10,11,12,13,14,15,"]);
    })
    .await;
    assert_eq!(writes.lock()[2], b"16,");
}

#[tokio::test]
async fn an_early_sending_that_fails_is_told_at_the_end_of_the_turn() {
    let mut setup = setup(usize::MAX, b"");
    let (corks, broken) = (setup.corks.clone(), setup.broken.clone());
    uncork(Some(setup.corks), async move {
        for _ in 0..TOGETHER {
            corks.begin_answer();
            setup.stream.write_all(b"answer").await.unwrap();
        }
        broken.store(true, Ordering::Relaxed);
        corks.begin_answer();
        setup.stream.write_all(b"answer").await.unwrap();
        tokio::task::yield_now().await;
        assert_eq!(setup.stream.flush().await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    })
    .await;
}

#[tokio::test]
async fn bytes_keep_their_order_whatever_their_number() {
    let mut setup = setup(1000, b"");
    let mut sent = Vec::new();
    let writes = setup.writes.clone();
    let expected = uncork(Some(setup.corks), async move {
        for (number, size) in [3, HELD - 1, 40, HELD, HELD + 1, 5, 3 * HELD, 7].into_iter().enumerate() {
            let part = vec![number as u8; size];
            sent.extend_from_slice(&part);
            setup.stream.write_all(&part).await.unwrap();
            setup.stream.flush().await.unwrap();
            if number % 3 == 0 {
                tokio::task::yield_now().await;
            }
        }
        setup.stream.shutdown().await.unwrap();
        sent
    })
    .await;
    assert!(writes.lock().concat() == expected);
}

/// A stream may take bytes and keep them until it is flushed, as TLS does when
/// the socket is full.
#[tokio::test]
async fn a_flush_that_has_to_wait_is_taken_up_again() {
    for size in [4, HELD + 1] {
        let mut setup = setup(usize::MAX, b"");
        let flushed = setup.flushed.clone();
        uncork(Some(setup.corks), async move {
            setup.stream.write_all(&vec![1; size]).await.unwrap();
            setup.stream.flush().await.unwrap();
            // The end of this turn begins the flush, the next one's ends it.
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
            assert_eq!(setup.flushed.load(Ordering::Relaxed), size);
        })
        .await;
        assert_eq!(flushed.load(Ordering::Relaxed), size);
    }
}

#[tokio::test]
async fn what_fails_after_the_flush_is_said_by_the_next_use() {
    let mut setup = setup(usize::MAX, b"still here");
    setup.broken.store(true, Ordering::Relaxed);
    let error = uncork(Some(setup.corks), async move {
        setup.stream.write_all(b"lost").await.unwrap();
        setup.stream.flush().await.unwrap();
        tokio::task::yield_now().await;
        setup.stream.read_u8().await.unwrap_err()
    })
    .await;
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn a_reader_with_little_room_costs_one_read() {
    static INCOMING: [u8; 3000] = [7; 3000];
    let mut setup = setup(usize::MAX, &INCOMING);
    let mut part = [0; 1000];
    for _ in 0..3 {
        setup.stream.read_exact(&mut part).await.unwrap();
        assert!(part.iter().all(|byte| *byte == 7));
    }
    assert_eq!((*setup.reads.lock(), setup.corks.arrivals()), (1, 1));
    assert_eq!(setup.stream.read(&mut part).await.unwrap(), 0);
}
