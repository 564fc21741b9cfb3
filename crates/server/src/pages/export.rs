//! A history as a file, oldest first, sent as it is read: the fields of `assay history`.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use assay_desk::{MOVEMENT_FIELDS, cell};
use assay_store::StoreError;
use assay_types::Timestamp;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use parquet::basic::Compression;
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::filter::{Filter, Wish};
use super::frame::Reader;
use crate::answer::Asked;
use crate::api::subject::{Subject, block};
use crate::app::{Shared, blocking};
use crate::problem::Problem;
use crate::scope::Act;
use crate::seats::Use;

/// So many bytes are sent at once.
const PART_BYTES: usize = 1 << 16;
/// After so many movements it is looked at whether the caller still may.
const LOOK_AGAIN: usize = 500;
/// So many movements make a row group.
const GROUP: usize = 2_000;
/// Whoever reads nothing for so long is let go.
const PATIENCE: Duration = Duration::from_secs(60);

/// Amounts are text: they have up to 78 digits, and nothing that reads Parquet has decimals of so many.
const SCHEMA: &str = "message history {
    optional int64 height;
    optional binary hash (UTF8);
    optional int64 time (TIMESTAMP(MILLIS,true));
    optional binary txid (UTF8);
    optional int64 index;
    optional binary asset (UTF8);
    optional binary direction (UTF8);
    optional binary amount (UTF8);
    optional binary balance (UTF8);
    optional binary kind (UTF8);
    optional boolean final;
}";

pub(super) async fn page(
    State(app): State<Shared>,
    reader: Reader,
    Path((chain, address, file)): Path<(String, String, String)>,
    Asked(wish): Asked<Wish>,
) -> Result<Response, Problem> {
    let caller = reader.caller()?.clone();
    caller.must(&Act::ReadAccounts)?;
    let (kind, write): (_, Writer) = match file.as_str() {
        "history.csv" => ("text/csv; charset=utf-8", csv),
        "history.ndjson" => ("application/x-ndjson", ndjson),
        "history.parquet" => ("application/vnd.apache.parquet", parquet),
        _ => return Err(Problem::not_found()),
    };
    let seat = app.seats.take(Use::Export, &caller)?;
    let shared = app.clone();
    let (subject, filter) = blocking(move || {
        let subject = Subject::find(&shared, &chain, &address, wish.asset.as_deref())?;
        let tip = block(&subject.store, None)?;
        let filter = Filter::read(&wish, &subject.store, tip.height)?;
        Ok((subject, filter))
    })
    .await?;
    let name = format!("{}-{}-{file}", subject.chain.name, subject.symbol);
    let (send, receive) = mpsc::channel::<Result<Bytes, io::Error>>(4);
    tokio::task::spawn_blocking(move || {
        let _seat = seat;
        let sink = Sink { send: send.clone(), part: Vec::with_capacity(PART_BYTES) };
        let is_open = || !send.is_closed();
        match rows(&subject, &filter, || is_open() && app.still_knows(&caller))
            .and_then(|mut rows| write(&mut rows, sink))
        {
            Err(Broken::Failed(why)) => {
                tracing::error!(why, "a history could not be exported to its end");
                let _ = send.blocking_send(Err(io::Error::other("it broke off here"))); // so that nobody takes it for whole
            }
            Err(Broken::NobodyReads) => {
                // Whoever reads may no longer, or does not read. Where even this does not go in, the file has no end all the same.
                let _ = send.try_send(Err(io::Error::other("it broke off here")));
            }
            Ok(()) => {}
        }
    });
    let body = Body::from_stream(futures_util::stream::unfold(receive, async |mut receive| {
        receive.recv().await.map(|part| (part, receive))
    }));
    let mut response = Response::new(body);
    let kept = name.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '.', "_");
    let kept = HeaderValue::from_str(&format!("attachment; filename=\"{kept}\"")).map_err(Problem::internal)?;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(header::CONTENT_DISPOSITION, kept);
    Ok(response)
}

/// Why an export does not come to its end.
enum Broken {
    /// Nobody reads on, or may.
    NobodyReads,
    Failed(String),
}

impl From<StoreError> for Broken {
    fn from(error: StoreError) -> Broken {
        Broken::Failed(error.to_string())
    }
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Broken {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Broken::NobodyReads,
            _ => Broken::Failed(error.to_string()),
        }
    }
}

impl From<csv::Error> for Broken {
    fn from(error: csv::Error) -> Broken {
        match error.into_kind() {
            csv::ErrorKind::Io(error) => error.into(),
            other => Broken::Failed(format!("{other:?}")),
        }
    }
}

impl From<ParquetError> for Broken {
    fn from(error: ParquetError) -> Broken {
        let is_gone = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
        match &error {
            ParquetError::External(why) if why.downcast_ref::<io::Error>().is_some_and(is_gone) => Broken::NobodyReads,
            _ => Broken::Failed(error.to_string()),
        }
    }
}

/// Whoever downloads, as something that is written to.
struct Sink {
    send: mpsc::Sender<Result<Bytes, io::Error>>,
    part: Vec<u8>,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.part.extend_from_slice(bytes);
        if self.part.len() >= PART_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.part.is_empty() {
            return Ok(());
        }
        let part = std::mem::replace(&mut self.part, Vec::with_capacity(PART_BYTES));
        let sent = timeout(PATIENCE, self.send.send(Ok(part.into())));
        match Handle::current().block_on(sent) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

type Rows<'a> = dyn Iterator<Item = Result<Value, Broken>> + 'a;
type Writer = fn(&mut Rows<'_>, Sink) -> Result<(), Broken>;

/// Everything that is asked for, as long as the caller may.
fn rows<'a>(subject: &'a Subject, filter: &'a Filter, may: impl Fn() -> bool + 'a) -> Result<Box<Rows<'a>>, Broken> {
    let store = &subject.store;
    let Some(tip) = store.tip()? else { return Ok(Box::new(std::iter::empty())) };
    let (Some(number), _) = subject.coverage(&tip)? else { return Ok(Box::new(std::iter::empty())) };
    let told = subject.movements(number)?;
    let movements = store.movements(number, subject.deployment.asset, filter.from, filter.to)?;
    let row = move |(nth, movement): (usize, Result<_, StoreError>)| -> Option<Result<Value, Broken>> {
        if nth % LOOK_AGAIN == 0 && !may() {
            return Some(Err(Broken::NobodyReads));
        }
        let movement = match movement {
            Ok(movement) => movement,
            Err(error) => return Some(Err(error.into())),
        };
        filter.wants(&movement).then(|| Ok(told.row(&movement)?))
    };
    Ok(Box::new(movements.enumerate().filter_map(row)))
}

fn csv(rows: &mut Rows<'_>, sink: Sink) -> Result<(), Broken> {
    let mut lines = csv::Writer::from_writer(sink);
    lines.write_record(MOVEMENT_FIELDS)?;
    for row in rows {
        let row = row?;
        lines.write_record(MOVEMENT_FIELDS.map(|name| cell(&row, name)))?;
    }
    Ok(lines.flush()?)
}

fn ndjson(rows: &mut Rows<'_>, mut sink: Sink) -> Result<(), Broken> {
    for row in rows {
        writeln!(sink, "{}", row?)?;
    }
    Ok(sink.flush()?)
}

fn parquet(rows: &mut Rows<'_>, sink: Sink) -> Result<(), Broken> {
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let schema = Arc::new(parse_message_type(SCHEMA)?);
    let mut file = SerializedFileWriter::new(sink, schema, Arc::new(properties))?;
    let mut rows = rows;
    loop {
        let group = (&mut rows).take(GROUP).collect::<Result<Vec<Value>, Broken>>()?;
        if group.is_empty() {
            break;
        }
        let mut columns = file.next_row_group()?;
        let mut fields = MOVEMENT_FIELDS.iter();
        while let (Some(mut column), Some(name)) = (columns.next_column()?, fields.next()) {
            let cells = || group.iter().map(|row| &row[*name]);
            let is_there: Vec<i16> = cells().map(|cell| i16::from(!cell.is_null())).collect();
            match column.untyped() {
                ColumnWriter::Int64ColumnWriter(to) => {
                    to.write_batch(&cells().filter_map(whole).collect::<Vec<_>>(), Some(&is_there), None)?
                }
                ColumnWriter::BoolColumnWriter(to) => {
                    to.write_batch(&cells().filter_map(Value::as_bool).collect::<Vec<_>>(), Some(&is_there), None)?
                }
                ColumnWriter::ByteArrayColumnWriter(to) => {
                    let texts = cells().filter_map(Value::as_str).map(ByteArray::from);
                    to.write_batch(&texts.collect::<Vec<_>>(), Some(&is_there), None)?
                }
                _ => return Err(Broken::Failed(format!("the schema has no writer for {name}"))),
            };
            column.close()?;
        }
        columns.close()?;
    }
    file.finish()?;
    Ok(file.inner_mut().flush()?)
}

/// A number, or an instant in milliseconds.
fn whole(cell: &Value) -> Option<i64> {
    let millis = |text: &str| Some(text.parse::<Timestamp>().ok()?.unix_s() * 1000);
    cell.as_i64().or_else(|| millis(cell.as_str()?))
}
