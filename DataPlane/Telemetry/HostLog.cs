using System.Globalization;
using System.Text;
using System.Threading.Channels;

namespace Pollux.DataPlane.Telemetry;

/// <summary>The console log: one line per event, <c>2026-11-22T15:00:00.000Z level source message key=value</c>.</summary>
/// <remarks>Lines are written by one background thread from a bounded queue: a reader of our standard output that stops reading must
/// never hold up a beacon or a lease. When the queue is full, lines are dropped and the next one that fits says how many.</remarks>
public static class HostLog
{
    /// <summary>Some seconds of the noisiest start; a line has about 150 bytes.</summary>
    private const int LinesMax = 4096;

    private static readonly Channel<string> Lines = Channel.CreateBounded<string>(
        new BoundedChannelOptions(LinesMax) { SingleReader = true, FullMode = BoundedChannelFullMode.Wait });

    private static readonly ManualResetEventSlim Drained = new(initialState: false);
    private static long _dropped;

    static HostLog() => new Thread(Write) { IsBackground = true, Name = "log" }.Start();

    public static void Info(string source, string message, params ReadOnlySpan<(string Key, object? Value)> fields) =>
        Put("info", source, message, fields);

    public static void Warn(string source, string message, params ReadOnlySpan<(string Key, object? Value)> fields) =>
        Put("warn", source, message, fields);

    public static void Error(string source, string message, params ReadOnlySpan<(string Key, object? Value)> fields) =>
        Put("error", source, message, fields);

    /// <summary>Ends the log; waits for what is queued, at most <paramref name="timeout"/>.</summary>
    public static void Close(TimeSpan timeout)
    {
        if (Lines.Writer.TryComplete())
            Drained.Wait(timeout);
    }

    internal static string Format(
        DateTime utc, string level, string source, string message, ReadOnlySpan<(string Key, object? Value)> fields)
    {
        var line = new StringBuilder(160);
        line.Append(utc.ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture))
            .Append(' ').Append(level).Append(' ').Append(source).Append(' ').Append(OneLine(message));
        foreach (var (key, value) in fields)
        {
            var text = OneLine(Convert.ToString(value, CultureInfo.InvariantCulture) ?? "none");
            line.Append(' ').Append(key).Append('=');
            if (text.Length == 0 || text.AsSpan().ContainsAny(' ', '"', '='))
                line.Append('"').Append(text.Replace("\"", "'", StringComparison.Ordinal)).Append('"');
            else
                line.Append(text);
        }

        return line.ToString();
    }

    private static void Put(string level, string source, string message, ReadOnlySpan<(string Key, object? Value)> fields)
    {
        if (!Lines.Writer.TryWrite(Format(DateTime.UtcNow, level, source, message, fields)))
            Interlocked.Increment(ref _dropped);
    }

    private static string OneLine(string text) =>
        text.AsSpan().ContainsAny('\r', '\n') ? text.ReplaceLineEndings(" ") : text;

    private static void Write()
    {
        var output = Console.Out;
        while (Lines.Reader.TryRead(out var line) || Wait(out line))
        {
            output.WriteLine(line);
            if (Interlocked.Exchange(ref _dropped, 0) is > 0 and var dropped)
                output.WriteLine(Format(DateTime.UtcNow, "warn", "log", "lines were dropped: the output was not read", [("lines", dropped)]));
        }

        output.Flush();
        Drained.Set();
    }

    /// <summary>Blocks this thread, which belongs to the log alone, until there is a line or the log is closed.</summary>
    private static bool Wait(out string line)
    {
        line = "";
        return Lines.Reader.WaitToReadAsync().AsTask().GetAwaiter().GetResult() && Lines.Reader.TryRead(out line!);
    }
}
