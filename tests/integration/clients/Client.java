import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;

/** Java's default client, which offers an upgrade to HTTP/2 with its first request. */
public class Client {
    public static void main(String[] arguments) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        for (String body : new String[] {arguments[1], arguments[1], "{", " ".repeat(6_000_000), arguments[1]}) {
            HttpRequest request = HttpRequest.newBuilder(URI.create(arguments[0] + "/forecast"))
                .header("Content-Type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(body))
                .build();
            System.out.println(client.send(request, BodyHandlers.ofString()).statusCode());
        }
    }
}
