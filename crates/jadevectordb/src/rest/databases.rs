//! `/v1/databases`: creating, describing, changing, dropping.

use super::Rest;
use super::answer::{Answer, Outcome, Problem};
use super::body::{self, Field};
use super::call::Call;
use super::once;
use crate::auth::{Caller, iso};
use crate::engine::Condition;
use crate::record::{DatabaseRecord, Metric, Op};
use crate::store::Database;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;

const NAME_BYTES_MAX: usize = 1_024;
const DESCRIPTION_BYTES_MAX: usize = 16 << 10;
const DIMENSION_MAX: usize = 10_000;
const DIMENSION_DEFAULT: usize = 128;
/// Kept as sent; `flat` is searched exactly, the others by the node's index.
const INDEX_TYPES: [&str; 4] = ["hnsw", "ivf", "flat", "lsh"];

#[derive(Deserialize)]
struct Description<'a> {
    #[serde(borrow, default)]
    name: Field<'a>,
    #[serde(borrow, default)]
    description: Field<'a>,
    #[serde(borrow, default, rename = "vectorDimension")]
    vector_dimension: Field<'a>,
    #[serde(borrow, default, rename = "indexType")]
    index_type: Field<'a>,
    #[serde(borrow, default, alias = "distance_metric", alias = "distanceMetric")]
    metric: Field<'a>,
}

/// What a body says of a database; what it does not say stays.
struct Wanted {
    name: Option<String>,
    description: Option<String>,
    dimension: Option<usize>,
    index_type: Option<String>,
    metric: Option<Metric>,
}

fn read(call: &Call) -> Result<Wanted, Problem> {
    let given: Description<'_> = body::parse(&call.body)?;
    let name = body::text("name", given.name)?.map(|name| name.into_owned());
    if let Some(name) = &name {
        body::bounded_text("name", name, NAME_BYTES_MAX)?;
    }
    let description = body::text("description", given.description)?.map(|text| text.into_owned());
    if let Some(text) = description.as_ref().filter(|text| !text.is_empty()) {
        body::bounded_text("description", text, DESCRIPTION_BYTES_MAX)?;
    }
    let dimension = body::whole("vectorDimension", given.vector_dimension, 1..=DIMENSION_MAX)?;
    let index_type = body::text("indexType", given.index_type)?.map(|kind| kind.into_owned());
    if let Some(kind) = &index_type
        && !INDEX_TYPES.iter().any(|known| known.eq_ignore_ascii_case(kind))
    {
        let known = INDEX_TYPES.join(", ");
        return Err(Problem::BadRequest(format!("`indexType` is `{kind}`, it must be one of {known}")));
    }
    let metric = body::text("metric", given.metric)?.map(|metric| parse_metric(&metric)).transpose()?;
    Ok(Wanted { name, description, dimension, index_type, metric })
}

fn parse_metric(text: &str) -> Result<Metric, Problem> {
    match text.to_ascii_lowercase().as_str() {
        "cosine" => Ok(Metric::Cosine),
        "euclidean" | "l2" => Ok(Metric::Euclidean),
        "dot_product" | "inner_product" | "dot" => Ok(Metric::DotProduct),
        _ => Err(Problem::BadRequest(format!(
            "`metric` is `{text}`, it must be one of cosine, euclidean (l2), dot_product (inner_product, dot)"
        ))),
    }
}

pub fn find(rest: &Rest, id: &str) -> Result<Arc<Database>, Problem> {
    rest.node.store().database(id).ok_or_else(|| Problem::unknown_database(id))
}

pub async fn create(rest: Arc<Rest>, call: Arc<Call>, _caller: Caller) -> Outcome {
    let wanted = read(&call)?;
    let name = wanted.name.ok_or_else(|| body::missing("name", "a non-empty string"))?;
    let now_ms = rest.now_ms();
    let database_id = new_id(&rest);
    let record = DatabaseRecord {
        database_id: database_id.clone(),
        name,
        description: wanted.description.unwrap_or_default(),
        dimension: wanted.dimension.unwrap_or(DIMENSION_DEFAULT),
        index_type: wanted.index_type.unwrap_or_else(|| "HNSW".into()),
        metric: wanted.metric.unwrap_or_default(),
        created_ms: now_ms,
        updated_ms: now_ms,
    };
    let answer = Answer::created(&json!({ "databaseId": database_id, "status": "success" }));
    let applied = once::write(&rest, &call, Op::PutDatabase(record), Condition::None, &answer).await?;
    Ok(answer.at(applied))
}

/// `db_` and the time in nanoseconds, never the same twice.
fn new_id(rest: &Rest) -> String {
    let now_ns = rest.node.config().surroundings.clock.since_1970().as_nanos() as u64;
    loop {
        let before = rest.newest_database_ns.fetch_max(now_ns, Ordering::Relaxed);
        let ns = if before < now_ns { now_ns } else { rest.newest_database_ns.fetch_add(1, Ordering::Relaxed) + 1 };
        let id = format!("db_{ns}");
        // The clock may have gone back since the last start.
        if rest.node.store().database(&id).is_none() {
            return id;
        }
    }
}

fn describe(record: &DatabaseRecord) -> Value {
    json!({
        "databaseId": record.database_id,
        "name": record.name,
        "description": record.description,
        "vectorDimension": record.dimension,
        "indexType": record.index_type,
        "metric": record.metric,
        "created_at": iso(record.created_ms),
        "updated_at": iso(record.updated_ms),
    })
}

pub async fn list(rest: Arc<Rest>, _call: Arc<Call>, _caller: Caller) -> Outcome {
    let with_stats = |database: &Arc<Database>| {
        let mut described = describe(&database.record());
        described["stats"] = json!({
            "vectorCount": database.len(),
            "indexCount": 1,
            "storageSize": format!("{} KB", database.memory_bytes().div_ceil(1024)),
        });
        described
    };
    let databases: Vec<Value> = rest.node.store().databases().iter().map(with_stats).collect();
    Ok(Answer::ok(&json!({ "total": databases.len(), "databases": databases })))
}

pub async fn get(rest: Arc<Rest>, call: Arc<Call>, _caller: Caller) -> Outcome {
    let database = find(&rest, call.param("db"))?;
    Ok(Answer::ok(&describe(&database.record())))
}

pub async fn update(rest: Arc<Rest>, call: Arc<Call>, _caller: Caller) -> Outcome {
    let database_id = call.param("db");
    let wanted = read(&call)?;
    let _exclusive = rest.read_modify_write.lock().await;
    let database = find(&rest, database_id)?;
    let mut record = (*database.record()).clone();
    let (dimension, metric) = (record.dimension, record.metric);
    record.name = wanted.name.unwrap_or(record.name);
    record.description = wanted.description.unwrap_or(record.description);
    record.dimension = wanted.dimension.unwrap_or(dimension);
    record.index_type = wanted.index_type.unwrap_or(record.index_type);
    record.metric = wanted.metric.unwrap_or(metric);
    if record.dimension != dimension && !database.is_empty() {
        return Err(Problem::BadRequest(format!(
            "`vectorDimension` cannot become {}: the database has {} vectors of dimension {dimension}; \
             delete them first or create another database",
            record.dimension,
            database.len()
        )));
    }
    record.updated_ms = rest.now_ms();
    let condition = Condition::DatabaseExists(database_id.to_owned());
    let answer = success("Database updated successfully");
    let applied = once::write(&rest, &call, Op::PutDatabase(record), condition, &answer).await?;
    Ok(answer.at(applied))
}

pub async fn delete(rest: Arc<Rest>, call: Arc<Call>, _caller: Caller) -> Outcome {
    let database = call.param("db").to_owned();
    find(&rest, &database)?;
    let answer = success("Database deleted successfully");
    let applied = once::write(&rest, &call, Op::DropDatabase { database }, Condition::None, &answer).await?;
    Ok(answer.at(applied))
}

fn success(message: &str) -> Answer {
    Answer::json(StatusCode::OK, json!({ "status": "success", "message": message }).to_string())
}
