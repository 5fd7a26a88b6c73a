//! `/v1/databases/{db}/vectors`: storing, reading, deleting.

use super::Rest;
use super::answer::{Answer, Outcome, Problem};
use super::body::{self, Field, Object};
use super::call::Call;
use super::databases::find;
use super::{metadata, numbers, once};
use crate::auth::Caller;
use crate::config::Limits;
use crate::engine::{Condition, WriteError};
use crate::record::{Op, VectorRecord};
use crate::store::{Database, StoredVector};
use http::StatusCode;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::json;
use std::sync::Arc;

const PAGE_DEFAULT: usize = 50;
/// Numbers in one answer: 16 Mi floats are about 190 MB of text.
const ANSWER_NUMBERS_MAX: usize = 16 << 20;
/// From here on reading a body or writing an answer takes milliseconds, and moves to a thread of its own.
const LONG_BODY_BYTES: usize = 256 << 10;
const LONG_ANSWER_NUMBERS: usize = 100_000;

/// One vector of a request.
#[derive(Deserialize)]
struct Given<'a> {
    #[serde(borrow, default)]
    id: Field<'a>,
    #[serde(borrow, default)]
    values: Field<'a>,
    #[serde(borrow, default)]
    metadata: Field<'a>,
}

impl Given<'_> {
    /// `path` stands before the names of the fields in error messages: empty, or `vectors[3].`.
    fn into_record(self, id: String, path: &str, limits: &Limits, dimension: usize) -> Result<VectorRecord, Problem> {
        let (values_name, metadata_name) = (format!("{path}values"), format!("{path}metadata"));
        let values = body::floats(&values_name, self.values, dimension)?;
        if values.len() != dimension {
            let got = values.len();
            return Err(Problem::BadRequest(format!(
                "`{values_name}` has {got} numbers, the database has dimension {dimension}"
            )));
        }
        let metadata = metadata::canonical(&metadata_name, self.metadata, limits.metadata_bytes)?;
        Ok(VectorRecord { id, values, metadata })
    }
}

#[derive(Deserialize)]
struct GivenBatch<'a> {
    #[serde(borrow, default)]
    vectors: Option<Vectors<'a>>,
}

struct Vectors<'a>(Vec<Given<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Vectors<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Vectors<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("`vectors` to be an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
                let mut vectors = Vec::new();
                while let Some(Object(vector)) = elements.next_element()? {
                    vectors.push(vector);
                }
                Ok(Vectors(vectors))
            }
        }
        deserializer.deserialize_seq(Reader)
    }
}

pub async fn store(rest: Arc<Rest>, call: Arc<Call>, _caller: Caller) -> Outcome {
    let database = find(&rest, call.param("db"))?;
    let limits = &rest.node.config().limits;
    let given: Given<'_> = body::parse(&call.body)?;
    let id = body::required_text("id", given.id, limits.id_bytes)?.into_owned();
    let vector = given.into_record(id.clone(), "", limits, database.record().dimension)?;
    let mut text = String::with_capacity(40 + id.len());
    text.push_str("{\"status\":\"success\",\"vectorId\":");
    metadata::write_text(&mut text, &id);
    text.push('}');
    put(&rest, &call, vec![vector], Answer::json(StatusCode::CREATED, text)).await
}

pub async fn update(rest: Arc<Rest>, call: Arc<Call>, _caller: Caller) -> Outcome {
    let database = find(&rest, call.param("db"))?;
    let limits = &rest.node.config().limits;
    let id = call.vector_id();
    body::bounded_text("id", id, limits.id_bytes)?;
    let given: Given<'_> = body::parse(&call.body)?;
    let vector = given.into_record(id.to_owned(), "", limits, database.record().dimension)?;
    put(&rest, &call, vec![vector], Answer::json(StatusCode::OK, "{\"status\":\"success\"}")).await
}

pub async fn store_batch(rest: Arc<Rest>, call: Arc<Call>, _caller: Caller) -> Outcome {
    let database = find(&rest, call.param("db"))?;
    let dimension = database.record().dimension;
    let vectors = {
        let (rest, call) = (rest.clone(), call.clone());
        let long = call.body.len() > LONG_BODY_BYTES;
        aside(long, move || read_batch(&call, &rest.node.config().limits, dimension)).await??
    };
    let count = vectors.len();
    let answer = Answer::json(StatusCode::CREATED, json!({ "status": "success", "count": count }).to_string());
    if count == 0 {
        return Ok(answer);
    }
    put(&rest, &call, vectors, answer).await
}

fn read_batch(call: &Call, limits: &Limits, dimension: usize) -> Result<Vec<VectorRecord>, Problem> {
    let given: GivenBatch<'_> = body::parse(&call.body)?;
    let Vectors(given) = given.vectors.ok_or_else(|| body::missing("vectors", "an array of vectors"))?;
    if given.len() > limits.batch_vectors {
        let (count, max) = (given.len(), limits.batch_vectors);
        return Err(Problem::BadRequest(format!("`vectors` has {count} elements, the limit of one batch is {max}")));
    }
    let one = |(position, vector): (usize, Given<'_>)| {
        let path = format!("vectors[{position}].");
        let id = body::required_text(&format!("{path}id"), vector.id, limits.id_bytes)?.into_owned();
        vector.into_record(id, &path, limits, dimension)
    };
    given.into_iter().enumerate().map(one).collect()
}

async fn put(rest: &Rest, call: &Call, vectors: Vec<VectorRecord>, answer: Answer) -> Outcome {
    let op = Op::PutVectors { database: call.param("db").to_owned(), vectors };
    let written = once::write(rest, call, op, Condition::None, &answer).await;
    let applied = written.map_err(|error| match error {
        // Without a condition, only the size of the record can be in the way.
        WriteError::Conflict(text) => Problem::TooLarge(text),
        other => other.into(),
    })?;
    Ok(answer.at(applied))
}

pub async fn delete(rest: Arc<Rest>, call: Arc<Call>, _caller: Caller) -> Outcome {
    let (database, id) = (call.param("db"), call.vector_id());
    find(&rest, database)?;
    let op = Op::DeleteVectors { database: database.to_owned(), ids: vec![id.to_owned()] };
    let condition = match call.once.get() {
        // The answer is in the record already, so it must be known by then.
        Some(_) => Condition::VectorExists { database: database.to_owned(), id: id.to_owned() },
        None => Condition::None,
    };
    let answer = Answer::json(StatusCode::OK, "{\"status\":\"success\"}");
    let applied = once::write(&rest, &call, op, condition, &answer).await?;
    if applied.affected == 0 {
        return Err(unknown_vector(id, database));
    }
    Ok(answer.at(applied))
}

pub async fn get(rest: Arc<Rest>, call: Arc<Call>, _caller: Caller) -> Outcome {
    let (database, id) = (find(&rest, call.param("db"))?, call.vector_id());
    let vector = database.get(id).ok_or_else(|| unknown_vector(id, call.param("db")))?;
    let mut out = Vec::with_capacity(64 + vector.values.len() * 12);
    write(&mut out, &vector, Absent::LeftOut);
    Ok(Answer::json(StatusCode::OK, out))
}

fn unknown_vector(id: &str, database: &str) -> Problem {
    Problem::NotFound(format!("vector `{id}` does not exist in database `{database}`"))
}

pub async fn list(rest: Arc<Rest>, call: Arc<Call>, _caller: Caller) -> Outcome {
    let database = find(&rest, call.param("db"))?;
    let offset = page_number(&call, "offset")?.unwrap_or(0);
    let most = rest.node.config().limits.results;
    let limit = match call.query("limit")?.as_deref() {
        None => PAGE_DEFAULT,
        Some("-1") if database.len() <= most => most,
        Some("-1") => {
            let total = database.len();
            return Err(Problem::BadRequest(format!(
                "`limit` -1 means all, but the database has {total} vectors and a page at most {most}: use `offset`"
            )));
        }
        Some(_) => page_number(&call, "limit")?.unwrap_or(PAGE_DEFAULT),
    };
    if limit > most {
        return Err(Problem::BadRequest(format!(
            "`limit` is {limit}, a page has at most {most} vectors: use `offset`"
        )));
    }
    let numbers = limit.min(database.len()) * database.record().dimension;
    bounded_answer(numbers, "limit")?;
    let write_page = move || {
        let (total, vectors) = database.page(offset, limit);
        let head = format!("{{\"total\":{total},\"limit\":{limit},\"offset\":{offset},\"vectors\":");
        let mut out = head.into_bytes();
        write_all(&mut out, &vectors, Absent::Empty);
        out.push(b'}');
        out
    };
    let out = aside(numbers > LONG_ANSWER_NUMBERS, write_page).await?;
    Ok(Answer::json(StatusCode::OK, out))
}

fn page_number(call: &Call, name: &str) -> Result<Option<usize>, Problem> {
    let Some(text) = call.query(name)? else { return Ok(None) };
    let number = text.parse().map_err(|_| {
        Problem::BadRequest(format!("the query parameter `{name}` must be a whole number of at least 0, got `{text}`"))
    });
    number.map(Some)
}

#[derive(Deserialize)]
struct Ids<'a> {
    #[serde(borrow, default, alias = "vector_ids", alias = "vectorIds")]
    ids: Field<'a>,
}

pub async fn get_batch(rest: Arc<Rest>, call: Arc<Call>, _caller: Caller) -> Outcome {
    let database = find(&rest, call.param("db"))?;
    let given: Ids<'_> = body::parse(&call.body)?;
    let rule = "a non-empty array of vector ids (also as `vector_ids` or `vectorIds`)";
    let ids = body::texts("ids", given.ids)?.ok_or_else(|| body::missing("ids", rule))?;
    let most = rest.node.config().limits.results;
    if ids.is_empty() || ids.len() > most {
        let count = ids.len();
        return Err(Problem::BadRequest(format!("`ids` has {count} elements, it must have 1 to {most}")));
    }
    let numbers = ids.len() * database.record().dimension;
    bounded_answer(numbers, "ids")?;
    let database_id = call.param("db").to_owned();
    let write_found = move || {
        let found: Vec<StoredVector> = ids.iter().filter_map(|id| database.get(id)).collect();
        let mut head = String::from("{\"database_id\":");
        metadata::write_text(&mut head, &database_id);
        head.push_str(&format!(",\"count\":{},\"vectors\":", found.len()));
        let mut out = head.into_bytes();
        write_all(&mut out, &found, Absent::LeftOut);
        out.push(b'}');
        out
    };
    let out = aside(numbers > LONG_ANSWER_NUMBERS, write_found).await?;
    Ok(Answer::json(StatusCode::OK, out))
}

/// # Errors
/// 400 when one answer would carry too many numbers.
pub fn bounded_answer(numbers: usize, field: &str) -> Result<(), Problem> {
    if numbers <= ANSWER_NUMBERS_MAX {
        return Ok(());
    }
    Err(Problem::BadRequest(format!(
        "`{field}` asks for {numbers} numbers in one answer, the limit is {ANSWER_NUMBERS_MAX}: ask for fewer vectors"
    )))
}

/// Runs `work` here, or on a thread of its own when it is long.
///
/// # Errors
/// 500 when the work panicked.
pub async fn aside<T: Send + 'static>(long: bool, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    if !long {
        return Ok(work());
    }
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Problem::Internal(format!("the request was not finished: {error}")))
}

/// How a vector without metadata is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Absent {
    LeftOut,
    Empty,
}

fn write_all(out: &mut Vec<u8>, vectors: &[StoredVector], absent: Absent) {
    let numbers: usize = vectors.iter().map(|vector| vector.values.len()).sum();
    out.reserve(vectors.len() * 64 + numbers * 12);
    out.push(b'[');
    for (position, vector) in vectors.iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        write(out, vector, absent);
    }
    out.push(b']');
}

fn write(out: &mut Vec<u8>, vector: &StoredVector, absent: Absent) {
    out.extend_from_slice(b"{\"id\":");
    write_id(out, &vector.id);
    out.extend_from_slice(b",\"values\":");
    numbers::write(out, &vector.values);
    if !vector.metadata.is_empty() {
        out.extend_from_slice(b",\"metadata\":");
        out.extend_from_slice(vector.metadata.as_bytes());
    } else if absent == Absent::Empty {
        out.extend_from_slice(b",\"metadata\":{}");
    }
    out.push(b'}');
}

/// Appends an id as a JSON string.
pub fn write_id(out: &mut Vec<u8>, id: &str) {
    let mut text = String::with_capacity(id.len() + 2);
    metadata::write_text(&mut text, id);
    out.extend_from_slice(text.as_bytes());
}

/// Whether a full scan of `database` takes long enough to get out of the way of other requests.
pub fn long_to_scan(database: &Database) -> bool {
    const LONG_SCAN_VECTORS: usize = 50_000;
    database.len() > LONG_SCAN_VECTORS
}
