using System.Text.Json;
using System.Text.Json.Serialization;
using System.Threading.Channels;
using Pollux.DataPlane.Storage;
using Pollux.DataPlane.Telemetry;
using Pollux.HostProtocol;

namespace Pollux.DataPlane.Modules;

/// <summary>Where the events of a module on this host are kept, so that they outlive the process.</summary>
public interface IHistoryStore : IAsyncDisposable
{
    /// <summary>What was there when it was opened, oldest first.</summary>
    IReadOnlyList<ModuleEvent> Earlier { get; }

    /// <summary>Returns at once, on any thread; it is stored soon after.</summary>
    void Add(ModuleEvent happened);
}

/// <summary>Text, one JSON object in a line, appended as events come and flushed in batches. Nothing depends on it: a line that a loss of power has
/// torn is left out, and a disk that refuses it costs the history and nothing else.</summary>
/// <remarks>Every line begins with the line feed, so that a torn one before it ends there. One task writes; the role machine's thread never waits for a disk.</remarks>
public sealed class HistoryFile : IHistoryStore
{
    /// <summary>The file is cut to its newer half beyond this, bytes: some thousand events, weeks of a module in peace.</summary>
    public const int BytesMax = 256 * 1024;

    /// <summary>Events that wait for a slow disk; the oldest of more are left out.</summary>
    private const int PendingMax = 256;

    /// <summary>A disk that hangs does not keep the process from ending.</summary>
    private static readonly TimeSpan CloseMax = TimeSpan.FromSeconds(2);

    private readonly string _path;
    private readonly Channel<ModuleEvent> _pending = Channel.CreateBounded<ModuleEvent>(
        new BoundedChannelOptions(PendingMax) { FullMode = BoundedChannelFullMode.DropOldest, SingleReader = true });
    private readonly Task _writing;
    private bool _failing;

    public HistoryFile(string directory)
    {
        _path = Path.Combine(directory, "history");
        Earlier = Read();
        _writing = Task.Run(WriteAsync);
    }

    public IReadOnlyList<ModuleEvent> Earlier { get; }

    public void Add(ModuleEvent happened) => _pending.Writer.TryWrite(happened);

    public async ValueTask DisposeAsync()
    {
        _pending.Writer.TryComplete();
        if (await Task.WhenAny(_writing, Task.Delay(CloseMax)).ConfigureAwait(false) != _writing)
            HostLog.Warn("modules", "the history is not stored in time", ("file", _path));
    }

    private List<ModuleEvent> Read()
    {
        var events = new List<ModuleEvent>();
        try
        {
            if (!File.Exists(_path))
                return events;
            foreach (var line in File.ReadLines(_path))
                if (line.Length > 0 && Parse(line) is { } happened)
                    events.Add(happened);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            HostLog.Warn("modules", "the history of a module cannot be read", ("file", _path), ("reason", e.Message));
        }

        return events;
    }

    private static ModuleEvent? Parse(string line)
    {
        try
        {
            return JsonSerializer.Deserialize(line, HistoryJson.Default.ModuleEvent);
        }
        catch (JsonException)
        {
            return null; // Torn by a loss of power.
        }
    }

    private async Task WriteAsync()
    {
        while (await _pending.Reader.WaitToReadAsync().ConfigureAwait(false))
        {
            try
            {
                Append();
                _failing = false;
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                if (!_failing)
                    HostLog.Warn("modules", "the history of a module cannot be stored", ("file", _path), ("reason", e.Message));
                _failing = true;
            }
        }
    }

    private void Append()
    {
        using var lines = new MemoryStream();
        while (_pending.Reader.TryRead(out var happened))
        {
            lines.WriteByte((byte)'\n');
            lines.Write(JsonSerializer.SerializeToUtf8Bytes(happened, HistoryJson.Default.ModuleEvent));
        }

        long length;
        using (var file = new FileStream(_path, new FileStreamOptions
        {
            Mode = FileMode.Append, Access = FileAccess.Write, BufferSize = 0, UnixCreateMode = DurableFile.OwnerOnly,
        }))
        {
            file.Write(lines.GetBuffer().AsSpan(0, (int)lines.Length));
            file.Flush(flushToDisk: true);
            length = file.Length;
        }

        if (length <= BytesMax)
            return;
        var content = File.ReadAllBytes(_path).AsSpan();
        var newer = content[^(BytesMax / 2)..];
        DurableFile.Replace(_path, newer[Math.Max(0, newer.IndexOf((byte)'\n'))..]);
    }
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
[JsonSerializable(typeof(ModuleEvent))]
internal sealed partial class HistoryJson : JsonSerializerContext;
