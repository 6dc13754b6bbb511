using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text.RegularExpressions;

namespace Pollux.Tests.Unit.Telemetry;

/// <summary>otel/collector.yaml against the settings that the Collector's own sources know (v0.159: the mapstructure tags and Validate of
/// receiver/otlpreceiver, processor/batchprocessor, internal/memorylimiter, exporter/otlpexporter, config/configgrpc, config/confighttp,
/// config/configtls; contrib's exporter/prometheusexporter and pkg/resourcetotelemetry). A Collector refuses a setting that it does not know.</summary>
public sealed partial class CollectorConfigurationTests
{
    /// <summary>By component type: the paths that this file may use.</summary>
    private static readonly Dictionary<string, string[]> Settings = new()
    {
        ["receivers/otlp"] = ["protocols/grpc/endpoint", "protocols/http/endpoint", "protocols/grpc/max_recv_msg_size_mib"],
        ["processors/memory_limiter"] = ["check_interval", "limit_mib", "spike_limit_mib", "limit_percentage", "spike_limit_percentage"],
        ["processors/batch"] = ["timeout", "send_batch_size", "send_batch_max_size"],
        ["exporters/prometheus"] =
            ["endpoint", "namespace", "send_timestamps", "metric_expiration", "enable_open_metrics", "translation_strategy", "resource_to_telemetry_conversion/enabled"],
        ["exporters/otlp"] = ["endpoint", "compression", "timeout", "tls/insecure", "tls/ca_file", "tls/cert_file", "tls/key_file", "retry_on_failure/enabled", "sending_queue/enabled"],
    };

    private readonly Dictionary<string, string> _values = Read(Path.Combine(RepositoryRoot(), "otel", "collector.yaml"));

    [Fact]
    public void Every_setting_is_one_that_the_collector_knows()
    {
        Assert.NotEmpty(_values);
        foreach (var path in _values.Keys.Where(path => !path.StartsWith("service/pipelines/", StringComparison.Ordinal)))
        {
            var words = path.Split('/');
            // "otlp/traces" is the exporter otlp under the name of traces; a name's slash is written as '|' here.
            var component = $"{words[0]}/{words[1].Split('|')[0]}";
            Assert.True(Settings.TryGetValue(component, out var known) && known.Contains(string.Join('/', words[2..])), path);
        }
    }

    [Fact]
    public void Every_component_is_defined_and_used_and_memory_is_limited_before_anything_is_batched()
    {
        var defined = _values.Keys.Where(path => !path.StartsWith("service/", StringComparison.Ordinal)).Select(path => string.Join('/', path.Split('/')[..2])).ToHashSet();
        var used = new HashSet<string>();
        foreach (var (path, value) in _values.Where(pair => pair.Key.StartsWith("service/pipelines/", StringComparison.Ordinal)))
        {
            var words = path.Split('/');
            Assert.True(words.Length == 4 && words[2] is "metrics" or "traces" or "logs" && words[3] is "receivers" or "processors" or "exporters", path);
            var names = value.Trim('[', ']').Split(',', StringSplitOptions.TrimEntries);
            used.UnionWith(names.Select(name => $"{words[3]}/{name.Replace('/', '|')}"));
            if (words[3] == "processors")
                Assert.Equal(("memory_limiter", "batch"), (names[0], names[^1]));
        }
        Assert.Equal(defined.Order(), used.Order());
        Assert.Equal(2, _values.Keys.Count(path => path.EndsWith("/exporters", StringComparison.Ordinal)));
    }

    [Fact]
    public void Limits_are_those_that_the_collector_accepts()
    {
        const long SendBatchSizeDefault = 8192;
        Assert.InRange(Number("processors/memory_limiter/spike_limit_mib"), 1, Number("processors/memory_limiter/limit_mib") - 1);
        Assert.True(Number("processors/batch/send_batch_max_size") >= SendBatchSizeDefault);
        foreach (var path in new[] { "processors/memory_limiter/check_interval", "processors/batch/timeout" })
            Assert.Matches("^[1-9][0-9]*(ms|s|m)$", _values[path]);
        foreach (var path in _values.Keys.Where(path => path.EndsWith("/endpoint", StringComparison.Ordinal) && !_values[path].StartsWith("${", StringComparison.Ordinal)))
            Assert.Matches("^0\\.0\\.0\\.0:[0-9]+$", _values[path]);
    }

    [Fact]
    public void What_the_environment_has_to_give_is_said_in_the_readme()
    {
        var readme = File.ReadAllText(Path.Combine(RepositoryRoot(), "otel", "README.md"));
        var variables = _values.Values.Where(value => value.Contains("${", StringComparison.Ordinal)).Select(value => Variable().Match(value)).ToList();
        Assert.Equal(2, variables.Count);
        Assert.All(variables, variable => Assert.True(variable.Success && readme.Contains(variable.Groups[1].Value, StringComparison.Ordinal), variable.Value));
    }

    private long Number(string path) => long.Parse(_values[path], CultureInfo.InvariantCulture);

    /// <summary>The part of YAML that the file uses: mappings by indentation of two, scalars and lists in brackets. Path → value.</summary>
    private static Dictionary<string, string> Read(string file)
    {
        var values = new Dictionary<string, string>();
        var path = new List<string>();
        foreach (var line in File.ReadLines(file).Select(line => Comment().Replace(line, "").TrimEnd()).Where(line => line.Length > 0))
        {
            var key = Line().Match(line);
            Assert.True(key.Success && key.Groups[1].Length % 2 == 0 && key.Groups[1].Length / 2 <= path.Count, $"Not understood: {line}");
            path.RemoveRange(key.Groups[1].Length / 2, path.Count - key.Groups[1].Length / 2);
            path.Add(key.Groups[2].Value.Replace('/', '|'));
            if (key.Groups[3].Length > 0)
                Assert.True(values.TryAdd(string.Join('/', path), key.Groups[3].Value), $"Twice: {line}");
        }
        return values;
    }

    private static string RepositoryRoot([CallerFilePath] string path = "") => Path.GetFullPath(Path.Combine(Path.GetDirectoryName(path)!, "..", "..", ".."));

    [GeneratedRegex("(^| )#.*$")]
    private static partial Regex Comment();

    [GeneratedRegex("^( *)([a-z0-9_/]+):(?: (.+))?$")]
    private static partial Regex Line();

    [GeneratedRegex(@"^\$\{env:([A-Z_]+)(?::-[a-z]+)?\}$")]
    private static partial Regex Variable();
}
