using System.CommandLine;
using System.Text.Json;
using Pollux.Gateway.Authority;
using Pollux.Gateway.Server;
using Pollux.Grains.Abstractions;

namespace Pollux.Gateway.Commands;

/// <summary>The program <c>pollux</c>: operators' commands and the server. Exit codes: 0 done, 1 refused or failed, 2 wrong usage.</summary>
public static class PolluxCommandLine
{
    public const int Done = 0;
    public const int Failed = 1;
    public const int Usage = 2;

    internal static readonly Option<string> Server = new("--server")
    {
        Description = "The server's address [$POLLUX_SERVER].", Recursive = true, HelpName = "URL",
        DefaultValueFactory = _ => FromEnvironment("POLLUX_SERVER", $"https://localhost:{ServerOptions.PortDefault}"),
    };

    internal static readonly Option<string> TokenFile = new("--token-file")
    {
        Description = "File with the operator token [$POLLUX_TOKEN_FILE].", Recursive = true, HelpName = "FILE",
        DefaultValueFactory = _ => FromEnvironment("POLLUX_TOKEN_FILE", Path.Combine(ServerOptions.DataDirectoryDefault, OperatorTokens.FileName)),
    };

    internal static readonly Option<string> CaFile = new("--ca-file")
    {
        Description = "The authority's certificate [$POLLUX_CA_FILE].", Recursive = true, HelpName = "FILE",
        DefaultValueFactory = _ => FromEnvironment("POLLUX_CA_FILE", Path.Combine(ServerOptions.DataDirectoryDefault, CertificateAuthority.CertificateFile)),
    };

    internal static readonly Option<bool> AsJson = new("--json") { Description = "Print JSON.", Recursive = true };

    /// <param name="output">Results; the console if left out.</param>
    /// <param name="error">Problems; the console if left out.</param>
    public static async Task<int> RunAsync(string[] args, TextWriter? output = null, TextWriter? error = null)
    {
        var root = new RootCommand("Pollux keeps virtual machines alive on pairs of hosts.") { Server, TokenFile, CaFile, AsJson };
        ServerCommands.AddTo(root);
        ClusterCommands.AddTo(root);
        ModuleCommands.AddTo(root);
        StatusCommands.AddTo(root);
        var parsed = root.Parse(args);
        var code = await parsed.InvokeAsync(new InvocationConfiguration { Output = output ?? Console.Out, Error = error ?? Console.Error });
        return parsed.Errors.Count > 0 ? Usage : code;
    }

    /// <summary>Makes a command that talks to the server; what fails is printed as code, what, impact, cause and action.</summary>
    internal static void SetApiAction(this Command command, Func<ParseResult, ApiClient, CancellationToken, Task<int>> action) =>
        command.SetAction(async (parsed, cancel) =>
        {
            try
            {
                using var api = new ApiClient(new ApiAccess(
                    AddressOf(parsed.GetRequiredValue(Server)), parsed.GetRequiredValue(TokenFile), parsed.GetRequiredValue(CaFile)));
                return await action(parsed, api, cancel);
            }
            catch (CommandFailure failure)
            {
                if (parsed.GetValue(AsJson)) await parsed.Error().WriteLineAsync(JsonSerializer.Serialize(failure.Problem, ApiClient.Json));
                else await parsed.Error().WriteAsync(ProblemText.Of(failure.Problem, ""));
                return Failed;
            }
        });

    internal static TextWriter Output(this ParseResult parsed) => parsed.InvocationConfiguration.Output;

    internal static TextWriter Error(this ParseResult parsed) => parsed.InvocationConfiguration.Error;

    internal static void PrintJson<T>(this ParseResult parsed, T document) =>
        parsed.Output().WriteLine(JsonSerializer.Serialize(document, new JsonSerializerOptions(ApiClient.Json) { WriteIndented = true }));

    private static Uri AddressOf(string server) =>
        Uri.TryCreate(server, UriKind.Absolute, out var address) && address.Scheme == Uri.UriSchemeHttps
            ? address
            : throw new CommandFailure(new Problem("cli.server", "Not a server's address", "The command was not carried out.", $"'{server}' is no https URL.",
                $"Name it as in https://control.example:{ServerOptions.PortDefault}: --server URL or POLLUX_SERVER."));

    private static string FromEnvironment(string variable, string otherwise) =>
        Environment.GetEnvironmentVariable(variable) is { Length: > 0 } value ? value : otherwise;
}
