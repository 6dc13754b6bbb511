using System.Text.Json;
using System.Text.Json.Serialization;

namespace Pollux.DataPlane.Fencing;

/// <summary>How this host fences itself when it cannot stop a VM: the file <c>fencing.json</c> in its data directory.</summary>
/// <param name="StopSeconds">How long a killed VM may take to go before this host is fenced.</param>
public sealed record FencingOptions(WatchdogOptions? Watchdog = null, FenceAgentOptions? Agent = null, int StopSeconds = FencingOptions.StopSecondsDefault)
{
    public const string FileName = "fencing.json";

    /// <summary>Disks and their controllers give up a request after some 30 s, with one repetition (SCSI and NVMe command timeouts of Linux).</summary>
    public const int StopSecondsDefault = 60;

    public const int StopSecondsMax = 3_600;
    private const long FileBytesMax = 64 * 1024;

    public static FencingOptions None { get; } = new();

    public bool IsConfigured => Watchdog is not null || Agent is not null;

    /// <returns><see cref="None"/> if there is no file.</returns>
    /// <exception cref="FormatException">It cannot be used; the message names the file and what to do.</exception>
    public static FencingOptions Load(string dataDirectory)
    {
        var path = Path.Combine(dataDirectory, FileName);
        if (!File.Exists(path))
            return None;
        FencingOptions options;
        UnixFileMode readable;
        try
        {
            if (new FileInfo(path).Length > FileBytesMax)
                throw new FormatException($"{path} is larger than {FileBytesMax} bytes.");
            options = JsonSerializer.Deserialize(File.ReadAllText(path), FencingJson.Default.FencingOptions) ?? None;
            readable = File.GetUnixFileMode(path) & (UnixFileMode.GroupRead | UnixFileMode.OtherRead | UnixFileMode.GroupWrite | UnixFileMode.OtherWrite);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new FormatException($"{path} cannot be read: {e.Message}", e);
        }
        catch (JsonException e)
        {
            // Without the message: it may quote a value.
            throw new FormatException($"{path} is not understood at line {e.LineNumber + 1}{(e.Path is { } at ? $" ({at})" : "")}. See docs/operations.md, Fencing.");
        }

        if (options.Agent is not null && readable != 0)
            throw new FormatException($"{path} holds the secrets of a power switch, and others may read or write it: chmod 600 {path}");
        return options.Refusal() is { } refusal ? throw new FormatException($"{path}: {refusal}") : options;
    }

    private string? Refusal() => StopSeconds is < 10 or > StopSecondsMax
        ? $"stopSeconds is {StopSeconds}; it can be 10 to {StopSecondsMax}."
        : Watchdog is { Required: true } watchdog && watchdog.Refusal() is { } unusable ? unusable : Agent?.Refusal();
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow,
    ReadCommentHandling = JsonCommentHandling.Skip, AllowTrailingCommas = true, RespectNullableAnnotations = true)]
[JsonSerializable(typeof(FencingOptions))]
internal sealed partial class FencingJson : JsonSerializerContext;
