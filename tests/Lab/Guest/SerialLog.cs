using System.Globalization;

namespace Pollux.Lab.Guest;

/// <summary>One boot of the guest as its serial console told it.</summary>
public sealed record GuestBoot(string Host, DateTimeOffset FirstOutputAt)
{
    /// <summary>The highest record that the writer found on its disk; null until it has looked.</summary>
    public ulong? FoundMax { get; init; }

    public ulong FoundBad { get; init; }

    public ulong FoundMissing { get; init; }

    public AcknowledgedRange? Acknowledged { get; init; }

    public DateTimeOffset? FirstAcknowledgedAt { get; init; }

    public DateTimeOffset? LastOutputAt { get; init; }

    /// <summary>Writes or flushes that failed inside the guest.</summary>
    public int Errors { get; init; }
}

/// <summary>Follows the serial console of the guest on one host: a file outside the replicated directory.
/// Immutable snapshots out; one lock guards the list.</summary>
public sealed class SerialLog : IAsyncDisposable
{
    private readonly string _host;
    private readonly LineTail _tail;
    private readonly Lock _lock = new();
    private readonly List<GuestBoot> _boots = [];
    private readonly List<string> _oddities = [];

    public SerialLog(string host, string path)
    {
        _host = host;
        _tail = new LineTail(path, Take);
    }

    public IReadOnlyList<GuestBoot> Boots
    {
        get
        {
            lock (_lock)
                return [.. _boots];
        }
    }

    public GuestBoot? Last => Boots is [.., var last] ? last : null;

    /// <summary>Lines that break the writer's protocol, e.g. an acknowledgement out of order.</summary>
    public IReadOnlyList<string> Oddities
    {
        get
        {
            lock (_lock)
                return [.. _oddities];
        }
    }

    public ulong AcknowledgedMax => Boots.Select(boot => boot.Acknowledged?.Last ?? 0).DefaultIfEmpty().Max();

    public ValueTask DisposeAsync() => _tail.DisposeAsync();

    private void Take(TimedLine line)
    {
        lock (_lock)
        {
            if (line.Text.StartsWith("GUEST READY", StringComparison.Ordinal))
            {
                _boots.Add(new GuestBoot(_host, line.At));
                return;
            }
            if (_boots.Count == 0)
                return;
            _boots[^1] = Read(_boots[^1], line);
        }
    }

    private GuestBoot Read(GuestBoot boot, TimedLine line)
    {
        var words = line.Text.Split(' ');
        return words switch
        {
            ["ACK", var number] when ulong.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out var n)
                => Acknowledge(boot, n, line.At),
            ["SCAN", ..] => boot with
            {
                FoundMax = Value(words, "max"),
                FoundBad = Value(words, "bad"),
                FoundMissing = Value(words, "missing"),
                LastOutputAt = line.At,
            },
            ["ERR", ..] => boot with { Errors = boot.Errors + 1, LastOutputAt = line.At },
            _ => boot,
        };
    }

    private GuestBoot Acknowledge(GuestBoot boot, ulong number, DateTimeOffset at)
    {
        if (boot.Acknowledged is not { } range)
            return boot with { Acknowledged = new(number, number), FirstAcknowledgedAt = at, LastOutputAt = at };
        if (number != range.Last + 1)
            _oddities.Add($"{_host}: ACK {number} after ACK {range.Last}");
        return boot with { Acknowledged = new(range.First, number), LastOutputAt = at };
    }

    private static ulong Value(string[] words, string name) =>
        words.FirstOrDefault(word => word.StartsWith(name + "=", StringComparison.Ordinal)) is { } word
        && ulong.TryParse(word[(name.Length + 1)..], NumberStyles.None, CultureInfo.InvariantCulture, out var value) ? value : 0;
}
