//! A name server that says what a test wants said.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::CNAME;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::net::UdpSocket;

/// What a name server says of a name.
#[derive(Debug, Clone)]
pub enum Said {
    /// These addresses, in this order. A question gets those of its kind.
    Leads(Vec<IpAddr>),
    /// It is another name, which has these addresses.
    Alias(&'static str, Vec<IpAddr>),
    /// There is no such name.
    NoSuchName,
    /// The name server has failed.
    Failed,
    /// The name server does not talk to the likes of us.
    Refused,
    /// Bytes that are no answer.
    Garbage,
    /// Nothing at all.
    Nothing,
}

impl Said {
    /// Addresses, as texts.
    ///
    /// # Panics
    /// If one is none.
    #[must_use]
    pub fn leads(ips: &[&str]) -> Self {
        Self::Leads(addresses(ips))
    }

    /// Another name and its addresses, as texts.
    ///
    /// # Panics
    /// If one is none.
    #[must_use]
    pub fn alias(name: &'static str, ips: &[&str]) -> Self {
        Self::Alias(name, addresses(ips))
    }
}

fn addresses(ips: &[&str]) -> Vec<IpAddr> {
    ips.iter().map(|ip| ip.parse().unwrap_or_else(|_| panic!("{ip} is no address"))).collect()
}

/// How often each name was asked for, by the kind of its address.
type Questions = HashMap<(String, RecordType), usize>;

/// A name server on a port of its own. Nothing it says may be kept (its times to live are 0).
pub struct NameServer {
    address: SocketAddr,
    questions: Arc<Mutex<Questions>>,
}

impl NameServer {
    /// Says what the script says, which is told the name, without a dot at its end, and how often the same was
    /// asked before.
    ///
    /// # Panics
    /// If there is no free port.
    pub async fn scripted(script: impl Fn(&str, usize) -> Said + Send + Sync + 'static) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("there is a free port");
        let address = socket.local_addr().expect("a socket has an address");
        let server = Self { address, questions: Arc::default() };
        let questions = server.questions.clone();
        tokio::spawn(async move {
            let mut buffer = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let Ok(asked) = Message::from_vec(&buffer[..length]) else { continue };
                if let Some(answer) = answer(asked, &questions, &script) {
                    // Whoever asked may be gone.
                    let _ = socket.send_to(&answer, from).await;
                }
            }
        });
        server
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often it was asked for a name's IPv4 addresses.
    ///
    /// # Panics
    /// If a script panicked.
    #[must_use]
    pub fn asked(&self, name: &str) -> usize {
        let questions = self.questions.lock().expect("no script panics");
        questions.get(&(name.to_owned(), RecordType::A)).copied().unwrap_or_default()
    }
}

fn answer(asked: Message, questions: &Mutex<Questions>, script: &impl Fn(&str, usize) -> Said) -> Option<Vec<u8>> {
    let question = asked.queries.first()?.clone();
    let (name, kind) = (question.name().clone(), question.query_type());
    let text = name.to_ascii().trim_end_matches('.').to_ascii_lowercase();
    let before = {
        let mut questions = questions.lock().expect("no script panics");
        let count = questions.entry((text.clone(), kind)).or_default();
        *count += 1;
        *count - 1
    };
    let mut answer = Message::response(asked.metadata.id, asked.metadata.op_code);
    answer.metadata.recursion_desired = asked.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    answer.add_query(question);
    let (owner, ips) = match script(&text, before) {
        Said::Leads(ips) => (name, ips),
        Said::Alias(other, ips) => {
            let other = Name::from_ascii(other).expect("the script's name is one");
            answer.add_answer(Record::from_rdata(name, 0, RData::CNAME(CNAME(other.clone()))));
            (other, ips)
        }
        Said::Garbage => {
            let mut bytes = answer.to_vec().ok()?;
            bytes.truncate(4);
            bytes.extend([0xff; 9]);
            return Some(bytes);
        }
        Said::Nothing => return None,
        said => {
            answer.metadata.response_code = match said {
                Said::NoSuchName => ResponseCode::NXDomain,
                Said::Failed => ResponseCode::ServFail,
                _ => ResponseCode::Refused,
            };
            return answer.to_vec().ok();
        }
    };
    for ip in ips {
        let data = match (ip, kind) {
            (IpAddr::V4(ip), RecordType::A) => RData::A(ip.into()),
            (IpAddr::V6(ip), RecordType::AAAA) => RData::AAAA(ip.into()),
            _ => continue,
        };
        answer.add_answer(Record::from_rdata(owner.clone(), 0, data));
    }
    answer.to_vec().ok()
}
