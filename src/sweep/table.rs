//! Rows in columns, and as Parquet files.
//!
//! Parquet, because `DuckDB`, Polars, pandas and R read it without being told how. Every column may have
//! nulls. The files are not compressed: a column of equal values is a dictionary of one word anyway, and
//! whoever reads them needs no codec.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read as _, Seek as _, Write};
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{ConvertedType, Repetition, Type as Physical};
use parquet::column::reader::ColumnReader;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::Type;

use super::row::{BUILD, Cell, PLAN, Row};
use super::{FNV_START, fnv};

/// The key of a file's own metadata under which a file says what it holds.
const HEADER: &str = "iis-sim.sweep";

/// A column; `None` is null.
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    /// Whole numbers.
    Whole(Vec<Option<i64>>),
    /// Numbers.
    Number(Vec<Option<f64>>),
    /// Texts.
    Text(Vec<Option<String>>),
}

/// What kind of things a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Whole numbers, 64 bits.
    Whole,
    /// Numbers, 64 bits.
    Number,
    /// Texts in UTF-8.
    Text,
}

/// Rows, column by column.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// How many rows there are.
    pub rows: usize,
    /// The columns by name, each as long as there are rows.
    pub columns: BTreeMap<String, Column>,
}

impl Table {
    /// Rows as a table. A column is of the kind of its first cell.
    pub fn of(rows: &[Row]) -> Self {
        let names: BTreeSet<&String> = rows.iter().flat_map(BTreeMap::keys).collect();
        let column = |name: &String| {
            let cells: Vec<Option<&Cell>> = rows.iter().map(|row| row.get(name)).collect();
            (name.clone(), Column::of(&cells))
        };
        Self {
            rows: rows.len(),
            columns: names.into_iter().map(column).collect(),
        }
    }

    /// The texts of a column, if it is one of texts.
    pub fn texts(&self, name: &str) -> Option<&[Option<String>]> {
        match self.columns.get(name)? {
            Column::Text(texts) => Some(texts),
            Column::Whole(_) | Column::Number(_) => None,
        }
    }

    /// The numbers of a column, if it is one of whole numbers.
    pub fn wholes(&self, name: &str) -> Option<&[Option<i64>]> {
        match self.columns.get(name)? {
            Column::Whole(numbers) => Some(numbers),
            Column::Text(_) | Column::Number(_) => None,
        }
    }

    /// For each row a number that differs if any cell does; the order of columns, columns without
    /// values, the build and the plan's hash do not matter.
    pub fn digests(&self) -> Vec<u64> {
        let mut digests = vec![FNV_START; self.rows];
        for (name, column) in &self.columns {
            if name != BUILD && name != PLAN {
                column.digest(fnv(FNV_START, name.as_bytes()), &mut digests);
            }
        }
        digests
    }

    /// Adds the rows of another table. What either does not have is null there.
    pub fn append(&mut self, other: Self) -> Result<()> {
        let rows = self.rows + other.rows;
        for (name, column) in other.columns {
            let before = Column::nulls(column.kind(), self.rows);
            let place = self.columns.entry(name).or_insert(before);
            match (place, column) {
                (Column::Whole(to), Column::Whole(cells)) => to.extend(cells),
                (Column::Number(to), Column::Number(cells)) => to.extend(cells),
                (Column::Text(to), Column::Text(cells)) => to.extend(cells),
                (place, column) => {
                    let kinds = (place.kind(), column.kind());
                    return Err(ParquetError::General(format!("columns differ: {kinds:?}")));
                }
            }
        }
        for column in self.columns.values_mut() {
            column.fill(rows);
        }
        self.rows = rows;
        Ok(())
    }

    /// A column with the same text in every row.
    pub fn put_text(&mut self, name: &str, text: &str) {
        let column = Column::Text(vec![Some(text.to_owned()); self.rows]);
        self.columns.insert(name.to_owned(), column);
    }

    /// Keeps the rows of which `keep` is true.
    pub fn retain(&mut self, keep: &[bool]) {
        self.rows = keep.iter().filter(|keep| **keep).count();
        for column in self.columns.values_mut() {
            match column {
                Column::Whole(cells) => retain(cells, keep),
                Column::Number(cells) => retain(cells, keep),
                Column::Text(cells) => retain(cells, keep),
            }
        }
    }
}

fn retain<T>(cells: &mut Vec<T>, keep: &[bool]) {
    let mut keep = keep.iter();
    cells.retain(|_| keep.next().is_some_and(|keep| *keep));
}

impl Column {
    fn of(cells: &[Option<&Cell>]) -> Self {
        match cells.iter().flatten().next() {
            Some(Cell::Whole(_)) | None => {
                let whole = |cell: &&Cell| match cell {
                    Cell::Whole(number) => Some(*number),
                    Cell::Number(_) | Cell::Text(_) => None,
                };
                Self::Whole(
                    cells
                        .iter()
                        .map(|cell| cell.as_ref().and_then(whole))
                        .collect(),
                )
            }
            Some(Cell::Number(_)) => {
                let number = |cell: &&Cell| match cell {
                    Cell::Number(number) => Some(*number),
                    Cell::Whole(_) | Cell::Text(_) => None,
                };
                Self::Number(
                    cells
                        .iter()
                        .map(|cell| cell.as_ref().and_then(number))
                        .collect(),
                )
            }
            Some(Cell::Text(_)) => {
                let text = |cell: &&Cell| match cell {
                    Cell::Text(text) => Some(text.clone()),
                    Cell::Whole(_) | Cell::Number(_) => None,
                };
                Self::Text(
                    cells
                        .iter()
                        .map(|cell| cell.as_ref().and_then(text))
                        .collect(),
                )
            }
        }
    }

    fn nulls(kind: Kind, rows: usize) -> Self {
        match kind {
            Kind::Whole => Self::Whole(vec![None; rows]),
            Kind::Number => Self::Number(vec![None; rows]),
            Kind::Text => Self::Text(vec![None; rows]),
        }
    }

    /// Makes it so long, with nulls.
    fn fill(&mut self, rows: usize) {
        match self {
            Self::Whole(cells) => cells.resize(rows, None),
            Self::Number(cells) => cells.resize(rows, None),
            Self::Text(cells) => cells.resize(rows, None),
        }
    }

    /// What it holds.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Whole(_) => Kind::Whole,
            Self::Number(_) => Kind::Number,
            Self::Text(_) => Kind::Text,
        }
    }

    fn digest(&self, name: u64, digests: &mut [u64]) {
        match self {
            Self::Whole(cells) => take(name, digests, cells, |number| number.cast_unsigned()),
            Self::Number(cells) => take(name, digests, cells, |number| number.to_bits()),
            Self::Text(cells) => take(name, digests, cells, |text| fnv(FNV_START, text.as_bytes())),
        }
    }
}

fn take<T>(name: u64, digests: &mut [u64], cells: &[Option<T>], word: impl Fn(&T) -> u64) {
    for (digest, cell) in digests.iter_mut().zip(cells) {
        if let Some(cell) = cell {
            *digest = mix(mix(*digest, name), word(cell));
        }
    }
}

/// Takes a word into a digest. Source: the finalizer of splitmix64 (Steele, Lea, Flood, 2014).
pub(super) fn mix(digest: u64, word: u64) -> u64 {
    let mut mixed = (digest ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Writes tables of the same columns into one file.
#[derive(Debug)]
pub struct Writer<W: Write + Send> {
    columns: Vec<(String, Kind)>,
    file: SerializedFileWriter<W>,
}

impl<W: Write + Send> Writer<W> {
    /// A file with these columns.
    pub fn new(to: W, columns: Vec<(String, Kind)>) -> Result<Self> {
        let fields = columns.iter().map(|(name, kind)| {
            let field = match kind {
                Kind::Whole => Type::primitive_type_builder(name, Physical::INT64),
                Kind::Number => Type::primitive_type_builder(name, Physical::DOUBLE),
                Kind::Text => Type::primitive_type_builder(name, Physical::BYTE_ARRAY)
                    .with_converted_type(ConvertedType::UTF8),
            };
            field
                .with_repetition(Repetition::OPTIONAL)
                .build()
                .map(Arc::new)
        });
        let fields = fields.collect::<Result<Vec<_>>>()?;
        let schema = Type::group_type_builder("sweep")
            .with_fields(fields)
            .build()?;
        // A reader that wants statistics reads the columns; hundreds of footers stay small.
        let properties = WriterProperties::builder()
            .set_statistics_enabled(EnabledStatistics::None)
            .set_offset_index_disabled(true)
            .set_created_by(format!("iis-sim {}", crate::build::BUILD.version))
            .build();
        let file = SerializedFileWriter::new(to, Arc::new(schema), Arc::new(properties))?;
        Ok(Self { columns, file })
    }

    /// Adds rows, as a row group. A column that the table does not have is null.
    pub fn add(&mut self, table: &Table) -> Result<()> {
        let mut group = self.file.next_row_group()?;
        for (name, kind) in &self.columns {
            let Some(mut writer) = group.next_column()? else {
                break;
            };
            match (table.columns.get(name), kind) {
                (Some(Column::Whole(cells)), Kind::Whole) => {
                    write::<Int64Type, _>(&mut writer, cells, |number| *number)?;
                }
                (Some(Column::Number(cells)), Kind::Number) => {
                    write::<DoubleType, _>(&mut writer, cells, |number| *number)?;
                }
                (Some(Column::Text(cells)), Kind::Text) => {
                    write::<ByteArrayType, _>(&mut writer, cells, |text| {
                        ByteArray::from(text.as_str())
                    })?;
                }
                (Some(column), _) => {
                    let kind = column.kind();
                    let message = format!("column {name} is of two kinds, one is {kind:?}");
                    return Err(ParquetError::General(message));
                }
                (None, kind) => write_nulls(&mut writer, *kind, table.rows)?,
            }
            writer.close()?;
        }
        group.close()?;
        Ok(())
    }

    /// Ends the file with what it says of itself. Gives back what it was written to.
    pub fn close(mut self, header: String) -> Result<W> {
        let header = KeyValue::new(HEADER.to_owned(), Some(header));
        self.file.append_key_value_metadata(header);
        self.file.into_inner()
    }
}

fn write<T: DataType, C>(
    writer: &mut SerializedColumnWriter<'_>,
    cells: &[Option<C>],
    value: impl Fn(&C) -> T::T,
) -> Result<()> {
    let values: Vec<T::T> = cells.iter().flatten().map(value).collect();
    let defined: Vec<i16> = cells.iter().map(|cell| i16::from(cell.is_some())).collect();
    writer
        .typed::<T>()
        .write_batch(&values, Some(&defined), None)?;
    Ok(())
}

fn write_nulls(writer: &mut SerializedColumnWriter<'_>, kind: Kind, rows: usize) -> Result<()> {
    match kind {
        Kind::Whole => write::<Int64Type, i64>(writer, &vec![None; rows], |number| *number),
        Kind::Number => write::<DoubleType, f64>(writer, &vec![None; rows], |number| *number),
        Kind::Text => write::<ByteArrayType, ByteArray>(writer, &vec![None; rows], Clone::clone),
    }
}

/// A file of rows that is read.
pub struct Reader {
    file: Box<dyn FileReader>,
}

/// Up to how many bytes a file is read at once. Parquet's reader asks the system some times for each column, which of
/// a small file costs more than its rows; of a large one only what is asked for is held.
const AT_ONCE_MAX: u64 = 1 << 20;

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("rows", &self.rows())
            .finish()
    }
}

impl Reader {
    /// Opens a file: its end is read and understood, so one that was cut short is an error here.
    pub fn open(mut file: File) -> Result<Self> {
        let bytes = file.metadata()?.len();
        if bytes > AT_ONCE_MAX {
            let file = Box::new(SerializedFileReader::new(file)?);
            return Ok(Self { file });
        }
        let mut contents = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0));
        file.rewind()?;
        file.read_to_end(&mut contents)?;
        let file = Box::new(SerializedFileReader::new(Bytes::from(contents))?);
        Ok(Self { file })
    }

    /// What the file says of itself; `None` if it is not one of ours.
    pub fn header(&self) -> Option<&str> {
        let metadata = self.file.metadata().file_metadata().key_value_metadata()?;
        let header = metadata.iter().find(|pair| pair.key == HEADER)?;
        header.value.as_deref()
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        let rows = self.file.metadata().file_metadata().num_rows();
        usize::try_from(rows).unwrap_or(0)
    }

    /// Its columns.
    pub fn columns(&self) -> Result<Vec<(String, Kind)>> {
        let schema = self.file.metadata().file_metadata().schema_descr();
        let column = |column: &Arc<parquet::schema::types::ColumnDescriptor>| {
            let name = column.name().to_owned();
            let kind = match column.physical_type() {
                Physical::INT64 => Kind::Whole,
                Physical::DOUBLE => Kind::Number,
                Physical::BYTE_ARRAY => Kind::Text,
                Physical::BOOLEAN
                | Physical::INT32
                | Physical::INT96
                | Physical::FLOAT
                | Physical::FIXED_LEN_BYTE_ARRAY => {
                    let message = format!("column {name} is of a kind that no sweep writes");
                    return Err(ParquetError::General(message));
                }
            };
            Ok((name, kind))
        };
        schema.columns().iter().map(column).collect()
    }

    /// All rows, without the columns that `skip` names.
    pub fn read(&self, skip: &[&str]) -> Result<Table> {
        let columns = self.columns()?;
        let mut table = Table {
            rows: self.rows(),
            columns: BTreeMap::new(),
        };
        let groups =
            (0..self.file.metadata().num_row_groups()).map(|group| self.file.get_row_group(group));
        let groups = groups.collect::<Result<Vec<_>>>()?;
        for (index, (name, kind)) in columns.into_iter().enumerate() {
            if skip.contains(&name.as_str()) {
                continue;
            }
            let mut column = match kind {
                Kind::Whole => Column::Whole(Vec::with_capacity(table.rows)),
                Kind::Number => Column::Number(Vec::with_capacity(table.rows)),
                Kind::Text => Column::Text(Vec::with_capacity(table.rows)),
            };
            for group in &groups {
                let rows = usize::try_from(group.metadata().num_rows()).unwrap_or(0);
                read_column(group.get_column_reader(index)?, rows, &mut column)?;
            }
            table.columns.insert(name, column);
        }
        Ok(table)
    }
}

fn read_column(reader: ColumnReader, rows: usize, column: &mut Column) -> Result<()> {
    let mut defined = Vec::with_capacity(rows);
    macro_rules! read {
        ($reader:expr, $cells:expr, $value:expr) => {{
            let mut reader = $reader;
            let mut values = Vec::with_capacity(rows);
            while defined.len() < rows {
                let left = rows - defined.len();
                let (read, _, _) =
                    reader.read_records(left, Some(&mut defined), None, &mut values)?;
                if read == 0 {
                    return Err(ParquetError::General("a column ends too early".to_owned()));
                }
            }
            let mut values = values.into_iter();
            for defined in &defined {
                let value = (*defined > 0).then(|| values.next()).flatten();
                $cells.push(value.map($value).transpose()?);
            }
        }};
    }
    match (reader, column) {
        (ColumnReader::Int64ColumnReader(reader), Column::Whole(cells)) => {
            read!(reader, cells, Ok::<i64, ParquetError>);
        }
        (ColumnReader::DoubleColumnReader(reader), Column::Number(cells)) => {
            read!(reader, cells, Ok::<f64, ParquetError>);
        }
        (ColumnReader::ByteArrayColumnReader(reader), Column::Text(cells)) => {
            let text = |bytes: ByteArray| bytes.as_utf8().map(str::to_owned);
            read!(reader, cells, text);
        }
        (_, column) => {
            let message = format!("a column is not of {:?}", column.kind());
            return Err(ParquetError::General(message));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(unit: i64, gap: Option<f64>) -> Row {
        let mut row = Row::new();
        row.insert("unit".to_owned(), Cell::Whole(unit));
        row.insert("operation".to_owned(), Cell::Text("none".to_owned()));
        row.insert(BUILD.to_owned(), Cell::Text("a".to_owned()));
        if let Some(gap) = gap {
            row.insert("gap".to_owned(), Cell::Number(gap));
        }
        row
    }

    fn through_a_file(table: &Table, columns: Vec<(String, Kind)>) -> Table {
        let file = tempfile::tempfile().unwrap();
        let mut writer = Writer::new(file.try_clone().unwrap(), columns).unwrap();
        writer.add(table).unwrap();
        writer.close("hello".to_owned()).unwrap();
        let reader = Reader::open(file).unwrap();
        assert_eq!(reader.header(), Some("hello"));
        reader.read(&[]).unwrap()
    }

    fn columns(table: &Table) -> Vec<(String, Kind)> {
        let columns = table.columns.iter();
        columns
            .map(|(name, column)| (name.clone(), column.kind()))
            .collect()
    }

    #[test]
    fn a_table_comes_out_of_its_file_as_it_went_in() {
        let table = Table::of(&[row(1, Some(0.1)), row(2, None), row(3, Some(-0.0))]);
        assert_eq!(through_a_file(&table, columns(&table)), table);
    }

    #[test]
    fn a_digest_is_of_the_cells_and_not_of_empty_columns_or_the_build() {
        let table = Table::of(&[row(1, Some(0.1)), row(2, None)]);
        let mut wide = columns(&table);
        wide.push(("other".to_owned(), Kind::Number));
        assert_eq!(through_a_file(&table, wide).digests(), table.digests());
        let mut other = row(1, Some(0.1));
        other.insert(BUILD.to_owned(), Cell::Text("b".to_owned()));
        assert_eq!(Table::of(&[other]).digests()[0], table.digests()[0]);
        let differs = Table::of(&[row(1, Some(0.2)), row(2, None)]).digests();
        assert_ne!(differs[0], table.digests()[0]);
        assert_eq!(differs[1], table.digests()[1]);
    }

    #[test]
    fn a_file_that_was_cut_short_is_not_opened() {
        let table = Table::of(&[row(1, Some(0.1))]);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let writer = Writer::new(file.as_file_mut().try_clone().unwrap(), columns(&table));
        let mut writer = writer.unwrap();
        writer.add(&table).unwrap();
        writer.close(String::new()).unwrap();
        let length = file.as_file().metadata().unwrap().len();
        file.as_file().set_len(length - 1).unwrap();
        assert!(Reader::open(File::open(file.path()).unwrap()).is_err());
    }
}
